"""Traefik: static and dynamic configuration in YAML or TOML, and labels of Compose files."""
