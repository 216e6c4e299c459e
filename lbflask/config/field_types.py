"""Types of settings. Each validates its value; an error states what is expected."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from lbflask.config import passed_sockets
from lbflask.config.files import UnusableFile, check_regular
from lbflask.config.paths import LISTENER, SOCKET_PATH_BYTES, STORE, files_of_store, socket_path
from lbflask.config.redaction import ServiceURL
from lbflask.config.units import SECONDS
from lbflask.core.http.field_names import TCHAR, is_token
from lbflask.core.http.proxy_fields import WRITTEN, is_claim
from lbflask.core.http.request_key import KEYS_BETWEEN, RequestKey, parse_keys
from lbflask.core.http.status_classes import statuses_of
from lbflask.core.http.target import BadTarget, check_host
from lbflask.core.log_fields import parsed

#: A host, or a host and its port.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")

Seconds = Annotated[float, SECONDS, Field(gt=0, le=86_400, allow_inf_nan=False)]
#: Seconds, where 0 has a meaning of its own.
SecondsOrZero = Annotated[float, SECONDS, Field(ge=0, le=86_400, allow_inf_nan=False)]
SomeText = TypeVar("SomeText", bound=str)
Item = TypeVar("Item")


def required(holds: Callable[[str], object], expected: str) -> AfterValidator:
    """Accepts the texts for which `holds` returns a true value. The error states what is expected."""

    def validate(value: SomeText) -> SomeText:
        if not holds(value):
            raise ValueError(expected)
        return value

    return AfterValidator(validate)


def checked_by(check: Callable[[Any], object]) -> AfterValidator:
    """Accepts the values for which `check` raises no ValueError."""

    def validate(value: SomeText) -> SomeText:
        check(value)
        return value

    return AfterValidator(validate)


#: A value of a header field, as this program writes it.
PRINTABLE = required(
    re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?").fullmatch, "must be of printable ASCII, without blanks at its ends"
)
FieldName = Annotated[str, required(is_token, "must be the name of a header field")]


def is_host(text: str) -> bool:
    """Whether it can be the value of a Host field: a name or an address, with a port or without."""
    try:
        check_host(text)
    except BadTarget:
        return False
    return True


def is_method(text: str) -> bool:
    """Whether it is a method of requests that are forwarded."""
    return text != "CONNECT" and is_token(text) is not None


def comma_separated(value: Any) -> Any:
    """Split one string with commas into a list, as the environment needs it. A number is a list of itself."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) else value


#: A list, which may be written as one string with commas.
Listed = Annotated[tuple[Item, ...], BeforeValidator(comma_separated)]


def _listen_address(value: Any) -> str:
    """`host:port`, `[v6]:port` or `unix:/path`."""
    if not isinstance(value, str):
        raise ValueError("must be host:port, such as '0.0.0.0:80', or unix:/path")
    path = socket_path(value)
    if path is not None:
        if not path:
            raise ValueError("a unix socket needs a path: unix:/run/lbflask.sock")
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise ValueError(f"the path is longer than {SOCKET_PATH_BYTES} bytes")
        return f"unix:{path}"
    host, colon, port = value.rpartition(":")
    if not colon or not host or not is_host(value):
        example = f"0.0.0.0:{port}" if port.isdigit() else "127.0.0.1:8080"
        raise ValueError(f"must be host:port, such as {example}, or unix:/path")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"port {port!r} is not a number from 0 to 65535")
    return value


def _public_address(value: Any) -> str:
    """The same, or a socket that systemd passes: `fd://3`, `systemd:name`."""
    if isinstance(value, str) and passed_sockets.is_passed(value):
        passed_sockets.check_form(value)
        return value
    return _listen_address(value)


def _socket_mode(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(0?[0-7]{3})?", value):
        raise ValueError("must be the octal digits of a mode in quotes, such as '0660'")
    return value


def _redis_url(value: ServiceURL) -> ServiceURL:
    """A URL of a kind that the store supports. Errors name no part of it, since that can be a part of a password."""
    scheme, separator, rest = value.partition("://")
    _check_files(value.reveal())
    if separator and scheme in ("redis", "rediss", "unix"):
        _check_single(value.reveal())
        return value
    if scheme not in ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
        raise ValueError("must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    authority, _, path = rest.partition("?")[0].partition("/")
    for host in authority.rpartition("@")[2].split(","):
        found = _HOST.fullmatch(host)
        subject = "one of its servers" if "@" in value else repr(host)
        if found is None:
            raise ValueError(f"{subject} is not host or host:port")
        if int((found[2] or ":0")[1:]) > 65_535:
            raise ValueError(f"{subject}: the port is not a number from 0 to 65535")
    if scheme.endswith("sentinel"):
        if not re.fullmatch(r"[^/]+(/\d+)?", path):
            raise ValueError("must name the service, and may name a database: redis+sentinel://host:26379/service/0")
    elif path not in ("", "0"):
        raise ValueError("a cluster has no databases but 0")
    return value


def _check_files(url: str) -> None:
    """Raises ValueError for a file that would block a connection. A missing one is an error when the store is used."""
    for name, path in files_of_store(url).items():
        try:
            check_regular(path)
        except UnusableFile as error:
            raise ValueError(f"{name}: {path!r} {error}") from None


def _check_single(value: str) -> None:
    """Raises ValueError for a malformed URL of a single server."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - is checked as it is read
    except ValueError as error:
        if "@" in value:  # the error may show a part of the password; redis-py reports its own
            return
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("needs the path of a socket: unix:///run/valkey.sock")
    elif not re.fullmatch(r"/?|/[0-9]+/?", parts.path):
        raise ValueError("may end in the number of a database, and in nothing else: redis://host:6379/0")


def _network(value: Any) -> Any:
    """Parsed here, since the error of a union of two types would call an IPv6 network no IPv4 network."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    if not isinstance(value, str):  # a number would be an address
        raise ValueError("must be a network, such as '10.0.0.0/8'")
    try:
        return ip_network(value)
    except ValueError as error:
        if "/" in value and "host bits" in str(error):
            raise ValueError(f"the address is within a network: write {ip_network(value, strict=False)}") from None
        raise


def _status_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _log_format(value: str) -> None:
    if value not in ("text", "json", "combined"):
        if "{" not in value:
            raise ValueError("must be text, json, combined, or a line with names in braces: {method} {target} {status}")
        parsed(value, os.environ)


ListenAddress = Annotated[str, LISTENER, BeforeValidator(_public_address)]
SocketMode = Annotated[str, BeforeValidator(_socket_mode)]
OptionalListenAddress = Annotated[
    str, LISTENER, BeforeValidator(lambda value: value if value == "" else _listen_address(value))
]
RedisURL = Annotated[ServiceURL, STORE, AfterValidator(_redis_url)]
#: Keys of the store hold the namespace between braces and before a colon.
Namespace = Annotated[
    str, required(re.compile(r"[^{}: \t\r\n]+").fullmatch, "must be a word without braces, colons or blanks")
]
InstanceName = Annotated[
    str,
    required(
        re.compile(r"[A-Za-z0-9._:/\[\]@-]{1,64}").fullmatch,
        "must be at most 64 letters, digits and characters of ._:/[]@-",
    ),
]
ViaName = Annotated[
    str,
    required(re.compile(f"{TCHAR}*").fullmatch, "must be a single word (RFC 9110 section 7.6.3), or empty for no Via"),
]
ClaimName = Annotated[
    str,
    required(re.compile(r"[A-Za-z0-9!#$%&'*+.^`|~-]+").fullmatch, "is not the name of a header field that could pass"),
    required(
        lambda name: name.lower() not in WRITTEN,
        "is written by the balancer itself; `trusted_proxies` lists the peers whose fields count",
    ),
    required(is_claim, "is not among the fields that are dropped, so there is nothing to keep"),
]
#: Statuses, such as 404, and classes of them, such as 5xx.
Statuses = Listed[Annotated[str, BeforeValidator(_status_text), checked_by(lambda text: statuses_of([text]))]]
HashKeyName = Annotated[str, checked_by(RequestKey.parse)]


def _joined_keys(value: Any) -> Any:
    """A list of keys as one text."""
    return KEYS_BETWEEN.join(map(str, value)) if isinstance(value, (list, tuple)) else value


HashKeys = Annotated[str, checked_by(parse_keys), BeforeValidator(_joined_keys)]
RateLimitName = Annotated[
    str,
    required(
        re.compile(r"(?=.{1,48}\Z)[a-z0-9]+([_-][a-z0-9]+)*").fullmatch,
        "must be a name of small letters, digits and single - or _ between them",
    ),
]
PoolName = Annotated[
    RateLimitName, required(lambda name: name != "default", "the pool 'default' is the top level of the file")
]
UrlPath = Annotated[
    str, required(re.compile(r"(/[!-~]*)?").fullmatch, "must be a path that begins with /, such as /health, or empty")
]
LogFormat = Annotated[str, checked_by(_log_format)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


class Section(BaseModel):
    """A table of settings: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    #: The setting that a text in place of the table sets.
    short_form: ClassVar[str] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false in place of numbers: pydantic would take them for 1 and 0."""
        if isinstance(value, bool) and info.field_name and _is_number(cls.model_fields[info.field_name].annotation):
            raise ValueError("must be a number, and not true or false")
        return value

    def check_unused(self, where: str, keys: Iterable[str], reason: str) -> None:
        """Raises ValueError, which names the setting, for the first of these keys that has not its default value."""
        for key in keys:
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if getattr(self, key) != default:
                raise ValueError(f"{where}.{key}: {reason}")


def _is_number(kind: Any) -> bool:
    """Whether a type is that of numbers, or of a number and None."""
    parts = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
    return kind in (int, float) or (get_origin(kind) in (Annotated, Union, UnionType) and any(map(_is_number, parts)))


def _address(bind: str) -> IPv4Address | IPv6Address | None:
    """The IP address of `host:port`; None for a name or a path."""
    try:
        return ip_address(bind.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach it. A name is not a loopback address, since its address can change."""
    address = _address(bind)
    return bind.startswith("unix:") or (address is not None and address.is_loopback)


def is_address(bind: str) -> bool:
    """Whether connections can be recognized by it: it is empty, a path or an IP address. The address of a name can
    change.
    """
    return not bind or bind.startswith("unix:") or passed_sockets.is_passed(bind) or _address(bind) is not None


@dataclass(frozen=True, slots=True, eq=False)
class AnyHost:
    """Equal to each address with this port, as connections to a listener on all addresses have one of them."""

    port: int

    def __eq__(self, other: object) -> bool:
        """Whether it is an address with the port."""
        return isinstance(other, tuple) and len(other) >= 2 and other[1] == self.port

    __hash__ = None  # type: ignore[assignment]


def connection_address(bind: str) -> tuple[str, int] | str | AnyHost | None:
    """The local address of a connection through this listener; None where `socket_address` has none."""
    address = socket_address(bind)
    if not isinstance(address, tuple):
        return address
    host = ip_address(address[0])
    return AnyHost(address[1]) if host.is_unspecified else (str(host), address[1])


def same_listener(admin: str, public: str) -> bool:
    """Whether a connection through the public listener could look like one through the admin listener, an address."""
    address = socket_address(public)
    return admin == public or (address is not None and connection_address(admin) == address)


def socket_address(bind: str) -> tuple[str, int] | str | None:
    """The address of the listener itself; None for no listener, and for a passed socket that is unknown here."""
    if passed_sockets.is_passed(bind):
        return passed_sockets.address_of(bind)
    if bind.startswith("unix:"):
        return bind.removeprefix("unix:")
    host, _, port = bind.rpartition(":")
    return (host.strip("[]"), int(port)) if port else None
