"""Metrics: declarations, recording into memory shared by workers, and exposition in the Prometheus format."""
