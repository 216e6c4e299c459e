"""Credentials of requests by the schemes Basic (RFC 7617) and Bearer (RFC 6750), and the challenges for them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple

from lbflask.core.http.types import Fields

#: Characters of an Authorization field that is read; longer ones are no credentials.
MAX_CREDENTIALS: Final = 16_384
#: Bytes of a user's name and of a password.
MAX_USER, MAX_PASSWORD = 255, 1024
_CONTROLS: Final = re.compile(rb"[\x00-\x1f\x7f]")
_CONTROL_TEXT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: The characters of a token (RFC 6750 §2.1).
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class BasicCredentials(NamedTuple):
    """A user's name, and the bytes of the password."""

    user: str
    password: bytes


def credentials(fields: Fields, scheme: str) -> str:
    """The credentials of the Authorization field by this scheme; empty without one, or with several fields, which
    servers read differently (RFC 9110 §11.6.2).
    """
    found = [value for name, value in fields if name.lower() == "authorization"]
    if len(found) != 1 or len(found[0]) > MAX_CREDENTIALS:
        return ""
    given, _, rest = found[0].strip(" \t").partition(" ")
    return rest.strip(" \t") if given.lower() == scheme else ""


def basic_credentials(fields: Fields) -> BasicCredentials | None:
    """The user and the password of a request; None without them, or where they are invalid (RFC 7617 §2)."""
    text = credentials(fields, "basic")
    try:
        decoded = base64.b64decode(text, validate=True)
        user, colon, password = decoded.partition(b":")
        name = user.decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    if not colon or not user or len(user) > MAX_USER or len(password) > MAX_PASSWORD or _CONTROLS.search(decoded):
        return None
    return BasicCredentials(name, password)


def bearer_token(fields: Fields) -> str:
    """The token of a request; empty without one."""
    text = credentials(fields, "bearer")
    return text if _TOKEN.fullmatch(text) else ""


def challenge(scheme: str, parameters: dict[str, str]) -> str:
    """The value of WWW-Authenticate (RFC 9110 §11.6.1). Values are printable, and are quoted here."""
    parts = []
    for name, value in parameters.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'{name}="{escaped}"')
    return f"{scheme} {', '.join(parts)}" if parts else scheme


def field_text(value: str) -> str:
    """The text as a value of a header field: in UTF-8, as latin-1 characters, and without controls (RFC 9110 §5.5)."""
    return _CONTROL_TEXT.sub("", value).strip().encode("utf-8", "replace").decode("latin-1")


def exact_field_text(value: str) -> str:
    """The same for a text that identifies something: empty where it cannot be a value as it is, since what would be
    left of it may identify something else.
    """
    text = field_text(value)
    return text if text == value.encode("utf-8", "surrogatepass").decode("latin-1") else ""
