"""Cross-origin resource sharing: which origins may read responses, and the answers to preflight requests (Fetch
standard, section 3.3, "CORS protocol").
"""

from __future__ import annotations

from dataclasses import dataclass

from lbflask.core.http.field_names import is_token
from lbflask.core.http.types import Fields

#: The fields by which a server takes part in the protocol, in small letters. Only the policy writes them, since
#: browsers reject a response with two of one kind.
ANSWER_FIELDS = frozenset(
    {
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-expose-headers",
        "access-control-max-age",
    }
)
#: Names of requested fields that are answered; a longer list is not allowed.
MAX_NAMES = 64
_PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The origins that may read responses, and how they may ask.

    An origin is `scheme://host` with a port that is not the usual one, in small letters; `scheme://*.host` stands for
    each name below the host, `*` for all origins. `headers` may be `*` for any. `max_age` is in seconds, None for no
    field. `credentials` and the origin `*` exclude each other.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int | None = None
    expose: tuple[str, ...] = ()

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may read the response."""
        return any(_matches(pattern, origin) for pattern in self.origins)

    def edited(self, fields: Fields, origin: str) -> Fields:
        """The fields of a response to a request with this Origin field, empty for none."""
        kept = [field for field in fields if field[0].lower() not in ANSWER_FIELDS]
        kept += [] if self._is_public else [("Vary", "Origin")]
        if not self.allows(origin):
            return kept
        kept += self._allowance(origin)
        return [*kept, ("Access-Control-Expose-Headers", ", ".join(self.expose))] if self.expose else kept

    def preflight(self, origin: str, method: str, headers: str) -> Fields:
        """The fields of the answer to a preflight request for this method and these fields, separated by commas. An
        origin that is not allowed gets none of the protocol, which browsers take for a refusal.
        """
        fields: Fields = [("Vary", _PREFLIGHT_VARY)]
        if not self.allows(origin):
            return fields
        fields += self._allowance(origin)
        if method in self.methods:
            fields.append(("Access-Control-Allow-Methods", ", ".join(self.methods)))
        if allowed := ", ".join(self._allowed_names(headers)):
            fields.append(("Access-Control-Allow-Headers", allowed))
        if self.max_age is not None:
            fields.append(("Access-Control-Max-Age", str(self.max_age)))
        return fields

    @property
    def _is_public(self) -> bool:
        return "*" in self.origins

    def _allowance(self, origin: str) -> Fields:
        fields = [("Access-Control-Allow-Origin", "*" if self._is_public else origin)]
        return [*fields, ("Access-Control-Allow-Credentials", "true")] if self.credentials else fields

    def _allowed_names(self, headers: str) -> list[str]:
        """The requested fields that are allowed: named ones, for `*` do not cover Authorization in browsers."""
        if "*" not in self.headers:
            return list(self.headers)
        names = [name.strip(" \t") for name in headers.split(",", MAX_NAMES)]
        return [] if len(names) > MAX_NAMES else [name for name in names if is_token(name)]


def is_preflight(method: str, fields: Fields) -> bool:
    """Whether it is a preflight request: OPTIONS with an Origin and the method of the request to come."""
    if method != "OPTIONS":
        return False
    names = {name.lower() for name, _ in fields}
    return "origin" in names and "access-control-request-method" in names


def value_of(fields: Fields, name: str) -> str:
    """The value of the first field of this name, in small letters; empty for none."""
    return next((value for key, value in fields if key.lower() == name), "")


def _matches(pattern: str, origin: str) -> bool:
    if pattern == "*":
        return True
    scheme, star, host = pattern.partition("*")
    if not star:
        return origin == pattern
    name = origin[len(scheme) : -len(host)]
    return origin.startswith(scheme) and origin.endswith(host) and bool(name) and "/" not in name and "@" not in name
