"""Messages of the error log without the secrets that they quote: of request targets, header fields and URLs."""

from __future__ import annotations

import re
from urllib.parse import quote

from lbflask.core.redaction import MASK, is_secret, masked_parameters, masked_target, quotes_secret

#: What a client of HTTP leaves as it is in a target (RFC 3986 §2.2), and percent signs.
_SAFE = "!#$%&'()*+,/:;=?@[]~"
#: These are masked wherever they stand, up to the end of the line; of others the colon shows that they are fields.
_CREDENTIALS = re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)\b", re.IGNORECASE)
_FIELD = re.compile(r"(?:^|(?<=[\s'\"(,]))([A-Za-z][A-Za-z0-9-]{0,63})\s{0,8}:(?=\s|[^\s/])")
#: A field goes on in lines that begin with a blank (RFC 9112 §5.2); a traceback indents its lines by two at least.
_LINES = re.compile(r"\r\n(?![ \t])|\n(?![ \t](?! ))")
#: What has no blanks, and may hold parameters or user information.
_RUN = re.compile(r"\S+")
#: What stands behind the user information of an authority (RFC 9112 §3.2.3).
_PLACE = re.compile(r"[^:/?#\s]+:[0-9]")
_REFUSED = "Invalid request from ip="
#: Credentials in plain text, of the schemes whose names are no words of a language.
_SCHEMES = re.compile(r"(?<![a-z0-9-])(bearer|negotiate|ntlm|sharedkey|aws4-hmac-sha256)\s+\S", re.IGNORECASE)
_AUTHORITY = re.compile(r"^[a-z]{1,8}://[^/?#]*")
#: Targets of services that the configuration names, and what is shown of them.
_targets: dict[str, str] = {}


def conceal(url: str, shown: str) -> None:
    """Write the target of a URL from now on as in `shown`, which differs from it in secrets alone."""
    target, known = (_AUTHORITY.sub("", text, 1).partition("#")[0] for text in (url, shown))
    if target != known:
        _targets.update({target: known, quote(target, safe=_SAFE): known})


def masked_message(text: str) -> str:
    """A message, or a traceback, without secrets of targets, fields and URLs that it quotes.

    Rather too much is masked.
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
    """A line, with those that continue it, up to the first field that is a secret, and its targets masked."""
    ends = [found.end(1) for found in [_CREDENTIALS.search(line)] if found]
    ends += [found.end(1) for found in _FIELD.finditer(line) if _names_secret(found[1])][:1]
    ends += [found.end(1) for found in [_SCHEMES.search(line)] if found]
    quoted = quotes_secret(line)
    ends += [] if quoted is None else [quoted]
    kept, rest = (line[: min(ends)], f" {MASK}") if ends else (line, "")
    return _RUN.sub(lambda found: _masked_run(found[0]), kept) + rest


def _names_secret(name: str) -> bool:
    """Whether a name before a colon is that of a field with a secret, and not that of an exception."""
    return is_secret(name) and not name.endswith(("Error", "Exception", "Warning"))


def _masked_run(run: str) -> str:
    masked = masked_target(run) if run.startswith("/") else masked_parameters(run)
    info, _, place = masked.rpartition("@")
    return f"{MASK}@{place}" if info and "://" not in masked and _PLACE.match(place) else masked


def _without_quotes(text: str) -> str:
    """What a worker of gunicorn's says of a request that it refuses, without the bytes that it quotes."""
    before, mark, rest = text.partition(_REFUSED)
    address, colon, error = rest.partition(": ")
    what, quotes, _ = error.partition(":")
    return before + mark + address + colon + what + (quotes and f": {MASK}")
