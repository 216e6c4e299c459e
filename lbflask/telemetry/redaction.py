"""Masks secrets of request targets, header fields and URLs in messages of the error log."""

from __future__ import annotations

import re
from urllib.parse import quote

from lbflask.core.redaction import MASK, is_secret, masked_parameters, masked_target, quotes_secret

#: Characters that HTTP clients leave unescaped in a target (RFC 3986 §2.2), and the percent sign.
_SAFE = "!#$%&'()*+,/:;=?@[]~"
#: Fields masked to the end of the line wherever they occur; other fields are recognised by their colon.
_CREDENTIALS = re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)\b", re.IGNORECASE)
_FIELD = re.compile(r"(?:^|(?<=[\s'\"(,]))([A-Za-z][A-Za-z0-9-]{0,63})\s{0,8}:(?=\s|[^\s/])")
#: A line that begins with one blank continues a field (RFC 9112 §5.2); a traceback indents by at least two.
_LINES = re.compile(r"\r\n(?![ \t])|\n(?![ \t](?! ))")
#: Text without blanks, which may contain parameters or user information.
_RUN = re.compile(r"\S+")
#: Host and port after the user information of an authority (RFC 9112 §3.2.3).
_HOST_PORT = re.compile(r"[^:/?#\s]+:[0-9]")
_REFUSED = "Invalid request from ip="
#: Credentials of the schemes whose names are not ordinary words.
_SCHEMES = re.compile(r"(?<![a-z0-9-])(bearer|negotiate|ntlm|sharedkey|aws4-hmac-sha256)\s+\S", re.IGNORECASE)
_AUTHORITY = re.compile(r"^[a-z]{1,8}://[^/?#]*")
#: Targets of services in the configuration, and their masked forms.
_targets: dict[str, str] = {}


def conceal(url: str, shown: str) -> None:
    """Replace the target of `url` in later messages by that of `shown`, the same URL with its secrets masked."""
    target, masked = (_AUTHORITY.sub("", text, 1).partition("#")[0] for text in (url, shown))
    if target != masked:
        _targets.update({target: masked, quote(target, safe=_SAFE): masked})


def masked_message(text: str) -> str:
    """A message or traceback in which the secrets of quoted targets, fields and URLs are masked.

    In doubt, text is masked.
    """
    text = _without_quotes(text)
    for target, shown in _targets.items():
        text = text.replace(target, shown)
    begin, lines = 0, []
    for end in _LINES.finditer(text):
        lines += [_masked_line(text[begin : end.start()]), end[0]]
        begin = end.end()
    return "".join([*lines, _masked_line(text[begin:])])


def _masked_line(line: str) -> str:
    """A line with its continuation lines, masked from the first secret field on, and its targets masked."""
    ends = [match.end(1) for match in [_CREDENTIALS.search(line)] if match]
    ends += [match.end(1) for match in _FIELD.finditer(line) if _names_secret(match[1])][:1]
    ends += [match.end(1) for match in [_SCHEMES.search(line)] if match]
    quoted = quotes_secret(line)
    ends += [] if quoted is None else [quoted]
    shown, rest = (line[: min(ends)], f" {MASK}") if ends else (line, "")
    return _RUN.sub(lambda match: _masked_run(match[0]), shown) + rest


def _names_secret(name: str) -> bool:
    """Whether a name before a colon is that of a secret field, and not that of an exception."""
    return is_secret(name) and not name.endswith(("Error", "Exception", "Warning"))


def _masked_run(run: str) -> str:
    masked = masked_target(run) if run.startswith("/") else masked_parameters(run)
    info, _, host = masked.rpartition("@")
    return f"{MASK}@{host}" if info and "://" not in masked and _HOST_PORT.match(host) else masked


def _without_quotes(text: str) -> str:
    """The message of gunicorn about a rejected request, without the bytes of the request."""
    before, mark, rest = text.partition(_REFUSED)
    address, colon, error = rest.partition(": ")
    kind, quotes, _ = error.partition(":")
    return before + mark + address + colon + kind + (quotes and f": {MASK}")
