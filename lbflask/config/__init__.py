"""Configuration: one declaration gives a setting its TOML key, environment name, default, bounds and documentation."""
