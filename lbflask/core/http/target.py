"""The request target and the Host (RFC 9112 §3.2): what is forwarded, byte for byte, and what is refused."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

#: RFC 3986 §3.2.2 without user-info, which RFC 9110 §4.2.4 tells recipients to refuse; RFC 9110 §7.2.
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)


class Target(NamedTuple):
    """What stands in the request line for the backend; `authority` is set when the target itself named the host."""

    text: str
    authority: str = ""


class BadTarget(Exception):
    """The request cannot be forwarded; `status` is that of the response (400 or 501)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def request_target(method: str, raw: str) -> Target:
    """The target for the backend: origin-form as it came, absolute-form cut to origin-form, `*` for OPTIONS.

    Raises BadTarget for CONNECT (this is no forward proxy) and for whatever fits no form.
    """
    if method == "CONNECT":
        raise BadTarget(501, "CONNECT is not supported")
    if raw.startswith("/"):
        if "#" in raw:
            raise BadTarget(400, "the request target has a fragment")
        return tuple.__new__(Target, (raw, ""))  # a third of what the class itself takes to make one
    if raw == "*" and method == "OPTIONS":
        return Target(raw)
    absolute = _ABSOLUTE.fullmatch(raw)
    if absolute is None or not absolute[1] or "#" in raw:
        raise BadTarget(400, "the request target fits no form of RFC 9112 section 3.2")
    authority, rest = absolute.groups()
    check_host(authority)
    if not rest and method == "OPTIONS":
        return Target("*", authority)  # RFC 9112 §3.2.4: the last proxy turns an empty path into the asterisk-form
    return Target(rest if rest.startswith("/") else "/" + rest, authority)


@lru_cache(maxsize=1024)
def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None


def origin_form(raw: str) -> str:
    """A target in absolute-form as one in origin-form; any other, and one that is refused, as it came."""
    if raw.startswith("/"):
        return raw
    try:
        return request_target("GET", raw).text
    except BadTarget:
        return raw


def check_host(host: str) -> None:
    """Raises BadTarget unless the Host field's value is a host with an optional port."""
    if not _is_host(host):
        raise BadTarget(400, "the Host is not a host with an optional port")


def host_of(authority: str) -> str:
    """The host of a Host field for comparisons: in lower case, without the port and without the dot of the DNS root.

    An IPv6 address is in brackets and in its shortest form.
    """
    host = authority.lower()
    if host.startswith("["):
        inner = host[1:].partition("]")[0]
        try:
            return f"[{IPv6Address(inner).compressed}]"
        except ValueError:
            return f"[{inner}]"
    return host.partition(":")[0].removesuffix(".")
