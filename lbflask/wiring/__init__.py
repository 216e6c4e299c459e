"""The composition root: configuration in, the parts out, joined. The one place that chooses implementations."""
