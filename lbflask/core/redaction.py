"""Redaction of secrets, for logs and for settings.

Names of parameters are compared after percent-decoding, regardless of case and of punctuation. Credentials are found by
the name of their scheme, in any context. In doubt a value is masked. Every expression is applied to bytes of peers, and
takes time linear in their length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote_plus

MASK = "***"

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")
#: Parts of the names of secrets.
_PART = re.compile(
    r"token|secret|pass?w|passphrase|passcode|pwd|pswd|credential|signature|jwt|hmac|bearer|cookie|csrf|xsrf|saml|cvv"
    r"|cvc|mnemonic|auth(?!or(?!i[sz]))|sess(?:ion)?id|codeverifier|pincode|(?:user|card|login|access|sim|atm)pin"
    r"|(?:oob|otp|sms|invite|invitation|access|login|reset|verification|activation|recovery|backup|device)code"
    r"|(?:api|access|private|shared|account|subscription|master|signing|encryption|client|license|session|reset)key"
    r"|cardn(?:o|um)|creditcard|securitycode"
)
#: Whole words of such names, and ends of words: a word is what is between signs, or between humps as in `apiKey`.
_WORDS = frozenset(
    {"sig", "sid", "session", "sess", "pin", "totp", "mfa", "assertion", "ticket", "creds", "cred", "psk", "psw", "csc"}
)
_ENDS = ("key", "pass", "pw", "otp", "apisig")
#: Words with such an end that name no secret.
_PLAIN_ENDS = (
    *("monkey", "turkey", "donkey", "hockey", "jockey", "whiskey", "lackey", "hotkey", "sortkey"),
    *("compass", "bypass", "overpass", "underpass", "surpass", "trespass"),
)
#: A code is a credential (OAuth 2.0, Azure Functions, one-time codes) unless it is one of these.
_PLAIN_CODES = frozenset(
    {"area", "bar", "city", "color", "country", "currency", "error", "exit", "http", "iso", "lang", "language", "post"}
    | {"postal", "product", "qr", "region", "response", "sort", "source", "state", "status", "zip"}
)
#: Header fields whose values say how a message is formatted, cached, routed or displayed, and are no secrets.
_PLAIN_FIELDS = frozenset(
    {"host", "user-agent", "connection", "keep-alive", "upgrade", "te", "via", "server", "date", "age", "allow", "vary"}
    | {"accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges", "accept-ch", "accept-patch"}
    | {"cache-control", "expires", "pragma", "last-modified", "retry-after", "range", "expect", "max-forwards", "dnt"}
    | {"content-type", "content-length", "content-language", "content-encoding", "content-disposition", "save-data"}
    | {f"access-control-allow-{name}" for name in ("credentials", "headers", "methods", "origin", "private-network")}
    | {f"access-control-{name}" for name in ("expose-headers", "max-age", "request-headers", "request-method")}
    | {"content-security-policy", "content-security-policy-report-only", "strict-transport-security", "expect-ct"}
    | {"x-frame-options", "x-content-type-options", "x-xss-protection", "x-robots-tag", "x-dns-prefetch-control"}
    | {"x-download-options", "x-permitted-cross-domain-policies", "x-powered-by", "x-requested-with", "x-ua-compatible"}
    | {"referrer-policy", "permissions-policy", "feature-policy", "origin-agent-cluster", "timing-allow-origin"}
    | {"cross-origin-opener-policy", "cross-origin-embedder-policy", "cross-origin-resource-policy", "origin"}
    | {f"x-forwarded-{name}" for name in ("for", "host", "proto", "port", "prefix", "path", "scheme", "server", "ssl")}
    | {"forwarded", "x-real-ip", "upgrade-insecure-requests", "alt-svc", "x-accel-buffering"}
)
#: Values that name their scheme of authentication (RFC 9110 §11.4), wherever they stand.
_CREDENTIALS = re.compile(
    r"(?<![a-z0-9])(?:basic|bearer|digest|negotiate|ntlm|hoba|mutual|vapid|dpop|hawk|oauth|hmac|sharedkey(?:lite)?"
    r"|signature|token|api-?key|aws4-[a-z0-9-]{1,32}|scram-sha-[0-9-]{1,8}|privatetoken)[\s+](?=[\s+]*[^\s+])",
    re.IGNORECASE,
)
#: A name in quotes and the value behind it, as JSON, reprs and dumps of header fields have them.
_QUOTED = re.compile(r"['\"]([A-Za-z0-9_.-]{1,64})\\?['\"]\s{0,8}[:,]")
#: A name before a colon, which is not that of a scheme or, before a path, of a host with its port.
_BEFORE_COLON = re.compile(r"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{1,64})\s{0,8}:(?!//|[0-9]{1,5}/|$)")
#: What a target has that may hold a secret, and what a part of it has that may mean something else when it is decoded.
_SIGNS = re.compile(r"[=@%+: \t\"']")
_CODED = re.compile(r"[%+ \t]").search
_NESTED = re.compile(r"[=:@]").search
#: A percent sign that is itself encoded, once or several times, or that begins a form of JavaScript's; an equals sign.
_ENCODED_PERCENT = re.compile(r"%(?:(?:25)+(?:u00)?|u00)", re.IGNORECASE)
_ENCODED_EQUALS = re.compile(r"%(?:25)*3d", re.IGNORECASE)
_AFTER_PATH = re.compile(r"[?#]").search
_AFTER_USER = re.compile(r"[/?#\s]")
#: A host, and a port, with nothing of an authority after them.
_AUTHORITY = re.compile(r"(?:[^@:/?#\[]+|\[[^\]@/?#]*\])(?::[0-9]{0,5})?(?![^/?#])")
#: A host with a port, whatever the host is called: `auth:4180`.
_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?![^/?#])")
#: User information of the target of CONNECT (RFC 9112 §3.2.3), which never has any but by mistake.
_AUTHORITY_FORM = re.compile(r"^[^/:@]*:[^/@]*@(?=[^/@:]+:[0-9]+$)")
_SEPARATORS = re.compile(r"([?&;#])")
_SEGMENTS = re.compile(r"([/;])")
#: Rounds of decoding. One decodes percent signs of any depth.
_ROUNDS = 3
#: Longer names are not cached, since clients choose them.
_MEMORABLE = 64


def is_secret(name: str) -> bool:
    """Whether a parameter, a header field or a setting of this name usually holds a secret."""
    return _remembered(name) if len(name) <= _MEMORABLE else _judged(name)


def is_secret_field(name: str, value: str) -> bool:
    """Whether the value of a header field may be a secret: any may, but for those of harmless names that hold none."""
    return name.strip().lower() not in _PLAIN_FIELDS or holds_secret(value)


def holds_secret(value: str) -> bool:
    """Whether the value of a header field is, or has, a secret by its form: credentials, or a parameter's."""
    return _reveals(_decoded(value))


def masked_target(target: str) -> str:
    """A request target (or a reference to one) without secrets: those of the query, of the path and its parameters
    (RFC 3986 §3.3), of user information, of a fragment, and of URLs that are values in it.
    """
    if not _SIGNS.search(target):
        return target
    found = _AFTER_PATH(target)
    end = len(target) if found is None else found.start()
    return _before_quoted(_masked_path(target[:end]) + _masked_parameters(target[end:]))


def masked_parameters(text: str) -> str:
    """A text without blanks, such as a part of a message, without secrets of parameters and of user information."""
    return _masked_user(_masked_parameters(text)) if _SIGNS.search(text) else text


def masked_url(url: str) -> str:
    """A URL of a setting without its password and the secrets of its path and query.

    User information reaches up to the last `@`, since passwords are written with `@` and `/` unescaped, and some
    clients take them; of a web address only where its beginning is no host.
    """
    scheme, mark, rest = url.partition("://")
    info, at, place = rest.rpartition("@")
    if not at or (scheme.lower() in ("http", "https") and _AUTHORITY.match(rest)):
        return scheme + mark + _masked_place(rest) if mark else masked_target(url)
    user, colon, _ = info.partition(":")
    shown = f"{user}:{MASK}" if colon and not _AFTER_USER.search(user) else MASK
    return scheme + mark + shown + at + _masked_place(place)


def _masked_place(place: str) -> str:
    """The part of a URL behind its user information. The port of a host with the name of a secret is none."""
    found = _HOST_AND_PORT.match(place)
    end = 0 if found is None else found.end()
    return place[:end] + masked_target(place[end:])


def quotes_secret(text: str) -> int | None:
    """The end of a quoted name of a secret with a value; None if there is none."""
    return next((found.end() for found in _QUOTED.finditer(text) if is_secret(found[1])), None)


def _decoded(text: str) -> str:
    for _ in range(_ROUNDS):
        decoded = unquote_plus(_ENCODED_PERCENT.sub("%", text))
        if decoded == text:
            break
        text = decoded
    return text


def _judged(name: str) -> bool:
    name = _decoded(name)
    folded = _NOT_ALPHANUMERIC.sub("", name).lower()
    # With humps as ends of words and without: tOKEN is a spelling of token too.
    forms = [_NOT_ALPHANUMERIC.sub("_", form).lower() for form in (name, _HUMP.sub("_", name))]
    if any(map(_PART.search, (folded, *forms))):
        return True
    return any(_has_secret_part([part for part in form.split("_") if part]) for form in (folded, *forms))


def _has_secret_part(words: list[str]) -> bool:
    bare = [part.rstrip("0123456789") for part in words]
    if any(part in _WORDS or (part.endswith(_ENDS) and not part.endswith(_PLAIN_ENDS)) for part in bare):
        return True
    return words[-1:] == ["code"] and words[-2:-1] not in [[plain] for plain in _PLAIN_CODES]


_remembered = lru_cache(maxsize=2048)(_judged)


def _masked_parameters(text: str) -> str:
    """Pairs, with `?`, `&`, `;` or `#` between them. A secret goes on behind a `;` or a `?`, which not every reader
    takes for the end of a value.
    """
    return _masked_pieces(_SEPARATORS.split(text), _masked_piece, ";?")


def _masked_path(path: str) -> str:
    if "@" in path:  # absolute-form, authority-form, or a URL in a path
        path = _masked_user(path) if "://" in path else _AUTHORITY_FORM.sub(f"{MASK}@", path)
    return _masked_pieces(_SEGMENTS.split(path), _masked_segment, ";") if _SIGNS.search(path) else path


def _masked_pieces(pieces: list[str], masked: Callable[[str], tuple[str, bool]], inner: str) -> str:
    """Pieces, with the separators between them; a secret goes on behind those that are `inner`."""
    within = False
    for place in range(0, len(pieces), 2):
        piece = pieces[place]
        goes_on = within and pieces[place - 1] in inner
        pieces[place], within = masked(piece) if piece else (piece, False)
        if goes_on and piece and not within:
            pieces[place], within = MASK, True
    return "".join(pieces)


def _masked_segment(piece: str) -> tuple[str, bool]:
    """The same as `_masked_piece` for a part of a path, whose name is not shown where it is encoded."""
    return (MASK, True) if _CODED(piece) and _reveals(_decoded(piece)) else _masked_piece(piece)


def _masked_piece(piece: str) -> tuple[str, bool]:
    """What is between two separators, and whether it ends in a secret."""
    name, equals, value = piece.partition("=")
    if _CODED(name):
        encoded = _ENCODED_EQUALS.search(name)
        if encoded is not None and is_secret(_last_name(name[: encoded.start()])):
            name, equals, value = name[: encoded.start()], encoded[0], name[encoded.end() :] + equals + value
        if _reveals(_decoded(name)):
            return MASK, True
    if equals and is_secret(_last_name(name)):
        return f"{name}{equals}{MASK}" if value else piece, True
    if _CODED(value) and _reveals(_decoded(value)):
        return f"{name}={MASK}", True
    return _masked_within(piece, len(name) + 1) if _NESTED(value or name) else (piece, False)


def _masked_within(piece: str, begin: int) -> tuple[str, bool]:
    """The same for a piece with a value at `begin`, in which there may be pairs again: `a=1,token=x`."""
    while (equals := piece.find("=", begin)) >= 0:
        if is_secret(_last_name(piece[begin:equals])):
            return piece[: equals + 1] + (MASK if piece[equals + 1 :] else ""), True
        begin = equals + 1
    colon = _after_colon(piece)
    if colon is not None:
        return piece[:colon] + MASK, True
    return (_masked_user(piece) if "@" in piece else piece), False


def _after_colon(text: str) -> int | None:
    """The start of the value of a secret after its name and a colon; None if there is none."""
    found = _BEFORE_COLON.finditer(text) if ":" in text else ()
    return next((one.end() for one in found if is_secret(one[1])), None)


def _last_name(text: str) -> str:
    """The last segment of a text that may be a path."""
    return text.rstrip("/").rpartition("/")[2] if "/" in text else text


def _masked_user(text: str) -> str:
    """A text with a URL or a bare authority, without its user information."""
    before, mark, rest = text.partition("//")
    info, at, place = rest.rpartition("@")
    return f"{before}{mark}{MASK}{at}{place}" if info else text


def _before_quoted(text: str) -> str:
    end = quotes_secret(text) if '"' in text or "'" in text else None
    return text if end is None else text[:end] + MASK


def _reveals(text: str) -> bool:
    """Whether a decoded text contains a secret."""
    if _CREDENTIALS.search(text) or quotes_secret(text) is not None or _after_colon(text) is not None:
        return True
    if "//" in text and _masked_user(text) != text:
        return True
    *names, _ = text.split("=")
    return any(is_secret(_last_name(_SEPARATORS.split(name)[-1])) for name in names)
