"""HAProxy: a parser of its lines and sections, and the translation of frontends and backends."""
