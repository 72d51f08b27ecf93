"""What the benchmarks compare: each contender is a program of its own, run by `rivals` and `quotes`."""
