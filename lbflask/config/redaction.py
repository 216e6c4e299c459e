"""Types of settings that contain secrets: strings whose str, repr, format and JSON are masked.

Only `reveal` returns the secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, GetCoreSchemaHandler, PlainSerializer
from pydantic.fields import FieldInfo

from lbflask.core import admin_tokens
from lbflask.core.http.field_names import TCHAR
from lbflask.core.redaction import MASK, is_secret, is_secret_field, masked_url

#: Values of a URL's query that are numbers or choices, and give nothing away.
_HARMLESS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?|true|false|yes|no|none|optional|required", re.IGNORECASE)
_BETWEEN_OPTIONS = re.compile(r"([&;])")
#: Options of the store that are paths.
_PATHS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
#: Segments of the path of a collector that are usual; any other may be a key.
_SEGMENTS = frozenset(
    {"", "api", "v0.1", "v0.2", "v0.3", "v1", "v2", "v3", "otlp", "otel", "opentelemetry", "traces", "trace", "ingest"}
    | {"collector", "receiver", "intake", "telemetry"}
)
#: The value of a path parameter (RFC 3986 §3.3).
_PARAMETER = re.compile(r"(;[^;/=]*=)[^;/]+")
#: A header field, and neither a URL, nor a path behind its kind, nor an address with its port.
_HEADER_LINE = re.compile(rf"\s*{TCHAR}{{1,128}}\s{{0,8}}:(?!/|[0-9]{{1,5}}(?:[/,\s]|$))")


class Secret(str):
    """A string that is secret as a whole."""

    __slots__ = ()

    @staticmethod
    def shown(text: str, /) -> str:  # noqa: ARG004 - the same for each
        """The masked text."""
        return MASK

    def reveal(self) -> str:
        """The secret, as a plain text."""
        return str.__str__(self)

    def __str__(self) -> str:
        return self.shown(self.reveal())

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> Any:
        """A string; masked in JSON."""
        return handler.generate_schema(Annotated[str, AfterValidator(cls), PlainSerializer(str, when_used="json")])


class _Hidden(str):
    """Replaces a secret in an error; its repr has no quotes, so that it does not look like a given text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


HIDDEN = _Hidden(MASK)


class TokenText(Secret):
    """A token of the admin API, `role:name:secret`."""

    __slots__ = ()
    shown = staticmethod(admin_tokens.masked)


class URL(Secret):
    """A URL, which may hold a password, and secrets in its query by their usual names."""

    __slots__ = ()
    shown = staticmethod(masked_url)


class ServiceURL(URL):
    """The URL of a service: each value in its query that is not a plain option may be a key."""

    __slots__ = ()

    @staticmethod
    def shown(text: str, /) -> str:
        """See Secret."""
        rest, hash_, fragment = masked_url(text).partition("#")
        place, mark, query = rest.partition("?")
        place = _PARAMETER.sub(rf"\1{MASK}", place)
        options = [text if text in "&;" else _option(text) for text in _BETWEEN_OPTIONS.split(query)]
        return place + mark + "".join(options) + hash_ + (fragment and MASK)


class CollectorURL(ServiceURL):
    """The URL of a service whose user information and path may be keys too."""

    __slots__ = ()

    @staticmethod
    def shown(text: str, /) -> str:
        """See Secret."""
        place, mark, query = ServiceURL.shown(text).partition("?")
        scheme, slashes, rest = place.rpartition("://")
        authority, *segments = rest.split("/")
        user, at, host = authority.rpartition("@")
        path = [segment if segment.lower() in _SEGMENTS else MASK for segment in segments]
        return scheme + slashes + "/".join([(user and MASK) + at + host, *path]) + mark + query


class HeaderLine(Secret):
    """A header field, `Name: value`."""

    __slots__ = ()

    @staticmethod
    def shown(text: str, /) -> str:
        """See Secret."""
        name, colon, value = text.partition(":")
        if not colon:
            return MASK
        return f"{name}: {MASK}" if is_secret_field(name, value.strip()) else text


class FieldTable:
    """Marks a table of header fields by name, whose values are secrets except for harmless fields."""

    @staticmethod
    def shown(table: Mapping[str, Any]) -> dict[str, Any]:
        """The masked table."""
        return {name: _field(name, value) for name, value in table.items()}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """The table; masked in JSON."""
        return handler.generate_schema(Annotated[source, PlainSerializer(self.shown, when_used="json")])


def _field(name: str, value: Any) -> Any:
    if isinstance(value, BaseModel):  # an expression for the value
        value = {key: getattr(value, key) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: _field(name, item) for key, item in value.items()}
    text = value.reveal() if isinstance(value, Secret) else value
    hidden = is_secret_field(name, text) if isinstance(text, str) else not isinstance(text, bool)
    return MASK if hidden else text


def _option(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return MASK
    plain = _HARMLESS.fullmatch(value) or (name in _PATHS and value.startswith("/")) or not value
    return pair if plain else f"{name}={MASK}"


def masked(text: str) -> str:
    """A message with the passwords of its URLs masked."""
    return masked_url(text) if "://" in text else text


def without_secrets(value: Any, kind: Any) -> Any:
    """The masked form of a value that was given for a setting of this type; it may have any other shape."""
    kinds = list(_alternatives(kind))
    for one in kinds:
        if isinstance(value, Mapping) and (table := _table(value, one)) is not None:
            return table
        if get_origin(one) is tuple and isinstance(value, (list, tuple)):
            return [without_secrets(item, get_args(one)[0]) for item in value]
        if get_origin(one) is tuple and isinstance(value, Mapping):
            return without_secrets(value, get_args(one)[0])
        if isinstance(value, str) and (short := getattr(one, "short_form", "")):
            return without_secrets(value, one.model_fields[short].annotation)
    secrets = {found for one in kinds for found in _secrets_within(one)}
    if not secrets or value is None:
        return value
    whole = [one for one in secrets if _is_secret_type(one)]
    if isinstance(value, str) and not (whole and len(secrets) > 1):
        text = ",".join(map(next(iter(secrets)).shown, value.split(","))) if len(secrets) == 1 else _shown_text(value)
        return HIDDEN if text == MASK else text
    return value if _is_number(value) and not any(_is_secret_type(one) for one in kinds) else HIDDEN


def _alternatives(kind: Any) -> Iterator[Any]:
    """The types of a union, without what is annotated to them but the mark of a table of header fields."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        yield from [FieldTable] if any(isinstance(mark, FieldTable) for mark in marks) else _alternatives(inner)
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _alternatives(one)
    else:
        yield kind


def _table(value: Mapping[str, Any], kind: Any) -> dict[str, Any] | None:
    """The value as a table of this type; None if the type has no tables."""
    if kind is FieldTable:
        return FieldTable.shown(value)
    if get_origin(kind) is dict:
        return {key: without_secrets(item, get_args(kind)[1]) for key, item in value.items()}
    if not _is_model(kind):
        return None
    known = {field.alias or name: setting_type(field) for name, field in kind.model_fields.items()}
    kinds = [one for kind in known.values() for one in _alternatives(kind)]
    secret, fields = any(map(_is_secret_type, kinds)), any(map(_is_of_fields, kinds))
    return {
        key: without_secrets(item, known[key])
        if key in known
        else HIDDEN
        if secret or (fields and not _is_number(item))
        else _unknown(key, item)
        for key, item in value.items()
    }


def _unknown(name: str, value: Any) -> Any:
    """The same for an unknown setting, which may be a misspelled one. A table may be one of header fields."""
    if is_secret(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: item if _is_number(item) and not is_secret(str(key)) else HIDDEN for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unknown(name, item) for item in value]
    return _shown_text(value) if isinstance(value, str) else value


def _shown_text(text: str) -> str:
    """A text that may be meant for any type: a header field, or URLs."""
    if _HEADER_LINE.match(text):
        return HeaderLine.shown(text)
    return MASK if "=" in text and "://" not in text else ",".join(map(ServiceURL.shown, text.split(",")))


def setting_type(field: FieldInfo) -> Any:
    """The type of a setting, FieldTable where it is marked as one."""
    return FieldTable if any(isinstance(mark, FieldTable) for mark in field.metadata) else field.annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _consists_of(kind: Any, matches: Callable[[Any], bool]) -> bool:
    """Whether values of the type, or each of the items of a list, are of a type that matches."""
    if get_origin(kind) is tuple:
        return any(_consists_of(one, matches) for one in _alternatives(get_args(kind)[0]))
    return matches(kind)


def _is_secret_type(kind: Any) -> bool:
    """Whether values of the type, or its items, are secrets as a whole."""
    return _consists_of(kind, lambda one: _is_secret(one) and not issubclass(one, (URL, HeaderLine)))


def _is_of_fields(kind: Any) -> bool:
    """Whether values of the type, or its items, are header fields."""
    return _consists_of(kind, lambda one: one is FieldTable or (_is_secret(one) and issubclass(one, HeaderLine)))


def _is_secret(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Secret)


def _secrets_within(kind: Any) -> Iterator[type[Secret]]:
    """The secret types that a value of this type may hold, anywhere in it."""
    if kind is FieldTable:
        yield HeaderLine
    elif _is_secret(kind):
        yield kind
    else:
        inner = map(setting_type, kind.model_fields.values()) if _is_model(kind) else get_args(kind)
        for part in inner:
            for one in _alternatives(part):
                yield from _secrets_within(one)
