"""Configuration of cross-origin requests: which pages of other origins may read responses (docs/inheritance.md)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import Listed, Section, is_method, required
from lbflask.config.units import SECONDS
from lbflask.core.http.cors import CorsPolicy
from lbflask.core.http.field_names import is_token

_ORIGIN = re.compile(r"\*|https?://(\*\.)?[a-z0-9._-]+(:[1-9][0-9]{0,4})?|https?://\[[0-9a-f:.]+\](:[1-9][0-9]{0,4})?")
_USUAL_PORTS = ((":80", "http://"), (":443", "https://"))


def _is_sent_so(origin: str) -> bool:
    return not any(origin.endswith(port) and origin.startswith(scheme) for port, scheme in _USUAL_PORTS)


Origin = Annotated[
    str,
    required(_ORIGIN.fullmatch, "must be https://name in small letters, https://*.name, or * for all; without a path"),
    required(_is_sent_so, "has the port that browsers leave out: write it without"),
]
Method = Annotated[str, required(is_method, "must be a method such as GET or PUT")]
FieldName = Annotated[str, required(is_token, "must be the name of a header field, or *")]


class TrafficCorsConfig(Section):
    """Cross-origin requests. Preflight requests are answered without a backend, and backends' own fields replaced."""

    origins: Listed[Origin] | None = None
    """Origins whose pages may read responses: `https://shop.example`, `https://*.shop.example`, `*`. Empty: no CORS."""
    methods: Listed[Method] | None = None
    """Methods that these pages may use."""
    headers: Listed[FieldName] | None = None
    """Header fields that they may send besides the simple ones; `*` for any."""
    credentials: bool | None = None
    """Whether they may send cookies. Not with the origin `*`."""
    max_age: Annotated[int, SECONDS, Field(ge=0, le=86_400)] | None = None
    """Seconds for which browsers may remember the answer to a preflight request; unset, they decide."""
    expose: Listed[FieldName] | None = None
    """Header fields of responses that they may read besides the simple ones."""


class CorsConfig(TrafficCorsConfig):
    """Cross-origin requests. Preflight requests are answered without a backend, and backends' own fields replaced."""

    origins: Listed[Origin] = ()
    methods: Listed[Method] = ("GET", "HEAD", "POST")
    headers: Listed[FieldName] = ()
    credentials: bool = False
    expose: Listed[FieldName] = ()

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for settings that exclude each other."""
        if self.credentials and "*" in self.origins:
            reason = 'browsers ignore it with the origin "*": name the origins (Fetch standard, section 3.3.5)'
            raise ValueError(f"{where}.credentials: {reason}")

    def to_model(self) -> CorsPolicy | None:
        """The policy as a value of the core; None for no CORS."""
        if not self.origins:
            return None
        return CorsPolicy(self.origins, self.methods, self.headers, self.credentials, self.max_age, self.expose)
