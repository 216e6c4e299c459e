"""The rules of RFC 9110 and RFC 9112 for an intermediary, each once, as data where possible."""
