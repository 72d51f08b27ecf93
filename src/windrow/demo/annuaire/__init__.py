"""A replica of a stateful directory of health professionals, with synthetic people: for tests, demos, benchmarks."""
