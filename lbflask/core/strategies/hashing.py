"""Hashes that are the same in every process, on every machine and in every version of Python."""

from __future__ import annotations

from hashlib import blake2b

_ALL = (1 << 64) - 1


def hash_of(text: str) -> int:
    """64 bits that depend on every bit of the text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def mixed(number: int) -> int:
    """64 pseudo-random bits, different for each of 2**64 numbers: the finalizer of SplitMix64 (Steele, Lea and Flood,
    "Fast Splittable Pseudorandom Number Generators", 2014).
    """
    number = (number + 0x9E3779B97F4A7C15) & _ALL
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _ALL
    return number ^ (number >> 31)
