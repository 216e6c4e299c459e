"""The rules: no I/O, clock, randomness, threads or environment. Caches are bounded."""
