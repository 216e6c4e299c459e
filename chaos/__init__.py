"""Breaks each part of a deployment under load, with real processes, and counts what clients notice."""
