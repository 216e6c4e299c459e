"""Caddy: a parser of Caddyfiles, and the translation of sites and their directives."""
