"""Pace, budget, robots, retry, verdicts: values in, decision out. Nothing here holds a socket, a clock or a table."""
