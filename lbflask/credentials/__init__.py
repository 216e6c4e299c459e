"""Verification of credentials: hashes of passwords, signatures of tokens. Loaded where authentication is configured."""
