"""Texts of others, made safe for terminals, logs and documents."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with `?` for each sign that is not printable: those that a terminal would obey, those that change the
    direction of a line, and halves of a pair (surrogates), which have no encoding.
    """
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)
