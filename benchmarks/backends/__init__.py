"""Backends for benchmarks, each a process of its own."""
