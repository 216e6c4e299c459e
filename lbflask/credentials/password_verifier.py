"""Verifies passwords by their hashes. This takes as long as a hash was made to cost, without the interpreter's lock."""

from __future__ import annotations

from lbflask.core.password_file import PasswordHash

#: bcrypt uses no more bytes of a password; its library rejects longer ones, which `htpasswd` cuts.
_BCRYPT_BYTES = 72
#: The digits of bcrypt's encoding, and where the last one of a salt stands, of which only the first two bits count.
#: Some programs write other bits too, which most readers ignore, and its library rejects.
_DIGITS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_END_OF_SALT = 28


def is_password(password: bytes, hashed: PasswordHash) -> bool:
    """Whether the password is the one of the hash."""
    if hashed.kind == "bcrypt":
        import bcrypt  # noqa: PLC0415 - only where such a hash is in use

        # Apache's name for bcrypt, $2y$, is the same algorithm as $2b$.
        text = hashed.text.replace("$2y$", "$2b$", 1)
        last = _DIGITS[_DIGITS.index(text[_END_OF_SALT]) & ~0xF]
        text = f"{text[:_END_OF_SALT]}{last}{text[_END_OF_SALT + 1 :]}"
        return bool(bcrypt.checkpw(password[:_BCRYPT_BYTES], text.encode("ascii")))
    import argon2  # noqa: PLC0415

    try:
        return argon2.PasswordHasher().verify(hashed.text, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
