"""Fuzzing of the parsers: their table (targets.py), what must hold for any input (properties/), inputs (corpora/).

    python -m fuzz [TARGET …] [--seconds N] [--minimize]

The tests of each parser's module hold its property against inputs that hypothesis makes, `tests/fuzz/` against the
corpora; both need no fuzzer.
"""
