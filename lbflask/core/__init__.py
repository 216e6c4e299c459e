"""The rules, pure: no I/O, clock, randomness, threads or environment; functions of their arguments."""
