"""Redaction of secrets, by the usual names of parameters and header fields: the one rule for logs and for settings.

Names are compared after percent-decoding, without regard to case and to the signs between words. Rather too much is
masked. Every expression here meets bytes of peers and takes time linear in their length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

MASK = "***"

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")
#: Parts of names of secrets, and whole words of such names.
_PART = re.compile(
    r"token|secret|pass?w|passphrase|passcode|pwd|(?:user|db)_?pass|credential|signature|jwt|hmac|bearer|cookie|csrf"
    r"|xsrf|saml|auth(?!or(?!i[sz]))|sess(?:ion)?_?id|code_?verifier|(?:oob|otp|sms|invite|access|login|reset)_?code"
    r"|(?:api|access|private|shared|account|subscription|master|signing|encryption|client|license|session|auth)_?key"
)
_WORD = re.compile(r"(?<![a-z0-9])(?:sig|sid|session|sess|pass|pin|otp|totp|mfa|key|assertion|ticket)(?![a-z0-9])")
#: A code lets somebody in (OAuth 2.0, Azure Functions, one-time codes) unless it is one of these.
_PLAIN_CODES = frozenset(
    {"area", "bar", "city", "color", "country", "currency", "error", "exit", "http", "iso", "lang", "language", "post"}
    | {"postal", "product", "qr", "region", "response", "sort", "source", "state", "status", "zip"}
)
#: Values that name their scheme of authentication (RFC 9110 §11.4), whatever their field is called.
_CREDENTIALS = re.compile(
    r"(?:basic|bearer|digest|negotiate|hmac|sharedkey|signature|token|aws4-[a-z0-9-]+) ", re.IGNORECASE
)
#: A name in quotes and the value behind it, as JSON, reprs and dumps of header fields have them.
_QUOTED = re.compile(r"['\"]([A-Za-z0-9_.-]{1,64})\\?['\"]\s{0,8}[:,]")
#: What a target has that may hold a secret.
_SIGNS = re.compile(r"[=@%\"']")
#: An equals sign that is written in percent-encoding, once or several times.
_ENCODED_EQUALS = re.compile(r"%(?:25){0,4}3d", re.IGNORECASE)
_AFTER_PATH = re.compile(r"[?#]").search
_AFTER_USER = re.compile(r"[/?#\s]")
#: A host, and a port, with nothing of an authority after them.
_AUTHORITY = re.compile(r"(?:[^@:/?#\[]+|\[[^\]@/?#]*\])(?::[0-9]{0,5})?(?![^/?#])")
#: User information of the target of CONNECT (RFC 9112 §3.2.3), which never has any but by mistake.
_AUTHORITY_FORM = re.compile(r"^[^/:@]*:[^/@]*@(?=[^/@:]+:[0-9]+$)")
_SEPARATORS = re.compile(r"([?&;#])")
_SEGMENTS = re.compile(r"([/;])")
#: Depth to which a value that is itself encoded is decoded, and times that a name is.
_DEPTH = 3
#: Names that are remembered are no longer than this: clients choose them.
_MEMORABLE = 64


def is_secret(name: str) -> bool:
    """Whether a parameter, a header field or a setting of this name usually holds a secret."""
    return _remembered(name) if len(name) <= _MEMORABLE else _judged(name)


def is_secret_field(name: str, value: str) -> bool:
    """The same for a header field, whose value may be credentials under any name."""
    return is_secret(name) or _CREDENTIALS.match(value) is not None


def masked_target(target: str) -> str:
    """A request target (or a reference to one) without secrets: those of the query, of path parameters (RFC 3986
    §3.3), of user information, of a fragment, and of URLs that are values in it.
    """
    if not _SIGNS.search(target):
        return target
    masked = _masked_target(target)
    end = quotes_secret(masked) if '"' in masked or "'" in masked else None
    return masked if end is None else masked[:end] + MASK


def _masked_target(target: str) -> str:
    found = _AFTER_PATH(target)
    if found is None:
        return _masked_path(target, _DEPTH)
    end = found.start()
    return _masked_path(target[:end], _DEPTH) + _masked_parameters(target[end:], _DEPTH)


def masked_parameters(text: str) -> str:
    """A text without blanks, such as a part of a message, without secrets of parameters and of user information."""
    return _masked_user(_masked_parameters(text, _DEPTH))


def masked_url(url: str) -> str:
    """A URL of a setting without its password and the secrets of its path and query.

    User information reaches up to the last `@`, since passwords are written with `@` and `/` unescaped, and some
    clients take them; of a web address only where its beginning is no host.
    """
    scheme, mark, rest = url.partition("://")
    info, at, place = rest.rpartition("@")
    if not at or (scheme.lower() in ("http", "https") and _AUTHORITY.match(rest)):
        return scheme + mark + masked_target(rest) if mark else masked_target(url)
    user, colon, _ = info.partition(":")
    shown = f"{user}:{MASK}" if colon and not _AFTER_USER.search(user) else MASK
    return scheme + mark + shown + at + masked_target(place)


def quotes_secret(text: str) -> int | None:
    """Where a quoted name of a secret ends whose value follows; None if there is none."""
    return next((found.end() for found in _QUOTED.finditer(text) if is_secret(found[1])), None)


def _judged(name: str) -> bool:
    for _ in range(_DEPTH):
        decoded = unquote_plus(name)
        if decoded == name:
            break
        name = decoded
    # With humps as ends of words and without: tOKEN is a spelling of token too.
    return any(_says_secret(_NOT_ALPHANUMERIC.sub("_", form).lower()) for form in (name, _HUMP.sub("_", name)))


def _says_secret(words: str) -> bool:
    if _PART.search(words) is not None or _WORD.search(words) is not None:
        return True
    *before, last = [word for word in words.split("_") if word] or [""]
    return last == "code" and not (before and before[-1] in _PLAIN_CODES)


_remembered = lru_cache(maxsize=2048)(_judged)


def _masked_parameters(text: str, depth: int) -> str:
    """Pairs with `?`, `&`, `;` or `#` before each. A secret goes on behind a `;` or a `?`, which not every reader takes
    for the end of a value.
    """
    pieces = _SEPARATORS.split(text)
    within = False
    for place in range(2, len(pieces), 2):
        name, equals, value = pieces[place].partition("=")
        encoded = _ENCODED_EQUALS.search(name)
        if encoded is not None and is_secret(name[: encoded.start()]):
            name, equals, value = name[: encoded.start()], encoded[0], name[encoded.end() :] + equals + value
        goes_on = within and pieces[place - 1] in ";?"
        within = False
        if equals and is_secret(name):
            within = True
            pieces[place] = f"{name}{equals}{MASK}" if value else pieces[place]
        elif goes_on and pieces[place]:
            within = True
            pieces[place] = MASK
        elif equals:
            pieces[place] = f"{name}={_masked_value(value, depth)}"
    return "".join(pieces)


def _masked_value(value: str, depth: int) -> str:
    if "%" in value and depth and _reveals(unquote_plus(value), depth - 1):
        return MASK
    return _masked_user(value) if "@" in value else value


def _masked_path(path: str, depth: int) -> str:
    if "@" in path and not path.startswith("/"):  # absolute-form or authority-form
        path = _masked_user(path) if "://" in path else _AUTHORITY_FORM.sub(f"{MASK}@", path)
    if ";" not in path and "%" not in path:
        return path
    pieces = _SEGMENTS.split(path)
    for place in range(0, len(pieces), 2):
        piece = pieces[place]
        if place and pieces[place - 1] == ";":
            pieces[place] = _masked_parameters(";" + piece, depth)[1:]
        elif "%" in piece and depth and _reveals(unquote(piece), depth - 1):
            pieces[place] = MASK
    return "".join(pieces)


def _masked_user(text: str) -> str:
    """A text that holds a URL, or a bare authority, without its user information."""
    before, mark, rest = text.partition("://")
    info, at, place = rest.rpartition("@")
    return f"{before}{mark}{MASK}{at}{place}" if info else text


def _reveals(text: str, depth: int) -> bool:
    if "=" in text and _masked_parameters("?" + text, depth) != "?" + text:
        return True
    if "://" in text and _masked_user(text) != text:
        return True
    if "%" in text and depth and _reveals(unquote_plus(text), depth - 1):
        return True
    return quotes_secret(text) is not None
