"""Automatic certificates (ACME, RFC 8555): the client of an authority, and the encryption of what it gives."""
