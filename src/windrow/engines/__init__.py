"""Engines: how the workers of a run are carried: in one loop, in threads, or in processes."""
