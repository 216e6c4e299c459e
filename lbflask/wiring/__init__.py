"""The composition root: builds all parts from a configuration. Only this package chooses implementations."""
