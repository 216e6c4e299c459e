"""Backends for benchmarks, each a separate process."""
