"""A backend as it is configured: a URL, or a table with one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_serializer, model_validator

from lbflask.config.field_types import SecondsOrZero, Section, is_host
from lbflask.config.health import HealthCheckConfig
from lbflask.config.paths import BACKEND, SOCKET_PATH_BYTES, absolute_path
from lbflask.config.redaction import ServiceURL
from lbflask.core import model

_NAME = r"^[A-Za-z0-9._:\[\]-]{1,64}$"


class BackendConfig(Section):
    """One server."""

    short_form: ClassVar[str] = "url"
    url: Annotated[ServiceURL, BACKEND]
    """Its address: `http://host:port`, `https://host:port` or `unix:/path/to.sock`; for the uwsgi protocol
    `uwsgi://host:port` or `uwsgi:/path/to.sock` (docs/how-to/uwsgi.md); without HTTP `tcp://host:port`
    (docs/how-to/tcp.md).
    """
    name: str | None = Field(default=None, pattern=_NAME)
    """Its stable name, for the store, the log and the command line; `host:port` or the socket's name unless set."""
    weight: int = Field(default=1, ge=0, le=model.MOST_WEIGHT)
    """Its share of the requests, relative to the other backends; with 0 it gets none."""
    backup: bool = False
    """Whether it serves only when no other backend can."""
    slow_start: SecondsOrZero | None = None
    """Seconds of its slow start, if they differ from those of its pool."""
    max_connections: int = Field(default=0, ge=0, le=100_000)
    """Concurrent requests and tunnels of the whole fleet (docs/limits.md); 0 sets no bound."""
    health: HealthCheckConfig | None = None
    """Deviations from the health check of its pool: a table of the keys of `[health]`, such as `path` and `port`."""
    #: Computed once: pools are large, and read it often.
    _model: model.Backend = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_url(self) -> BackendConfig:
        scheme, _, rest = self.url.partition(":")
        by_path = scheme.lower() == "unix" or (scheme.lower() == "uwsgi" and not re.match("//[^/]", rest))
        try:
            known = self._by_path(scheme.lower(), rest) if by_path else self._by_host()
            self._model = replace(known, max_connections=self.max_connections) if self.max_connections else known
        except ValueError as error:
            raise ValueError(f"url {self.url!r}: {error}") from None
        return self

    @field_serializer("health")
    def _only_what_differs(self, health: HealthCheckConfig | None) -> dict[str, Any] | None:
        """Only the keys that are set. Others are inherited, which they would not be if written out."""
        return None if health is None else health.model_dump(mode="json", exclude_unset=True, exclude_none=True)

    def to_model(self) -> model.Backend:
        """The backend as a value of the core."""
        return self._model

    def _by_host(self) -> model.Backend:
        if not self.url.reveal().isprintable():
            raise ValueError("it has a line break or another control character")  # which urlsplit would remove
        split = urlsplit(self.url.reveal())
        scheme = split.scheme
        if scheme not in (*model.DEFAULT_PORTS, "uwsgi", "tcp"):
            raise ValueError("the scheme must be http, https, unix, uwsgi or tcp, as in http://10.0.0.1:8000")
        if split.path not in ("", "/") or split.query or split.fragment or split.username is not None:
            raise ValueError("only scheme, host and port may be given")
        try:
            host, port = split.hostname, split.port
        except ValueError:
            raise ValueError("the port is not a number from 1 to 65535") from None
        if not is_host(split.netloc):
            raise ValueError("the host is not a name or address")
        if not host:
            raise ValueError("the host is missing")
        if port == 0:
            raise ValueError("the port is not a number from 1 to 65535")
        if port is None and scheme not in model.DEFAULT_PORTS:
            example = {"uwsgi": 3031}.get(scheme, 5432)
            raise ValueError(f"the port is missing, as in {scheme}://10.0.0.1:{example}")
        port = port or model.DEFAULT_PORTS[scheme]
        identity = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        place = (host, port, f"{scheme}://{identity}")
        return model.Backend(self.name or identity, *place, self.weight, scheme, "", self.backup, self.slow_start)

    def _by_path(self, scheme: str, text: str) -> model.Backend:
        path = absolute_path(text)
        if not path:
            raise ValueError(f"a unix socket needs an absolute path, as in {scheme}:/run/app.sock")
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise ValueError(f"the path is longer than {SOCKET_PATH_BYTES} bytes")
        identity = self.name or path.rpartition("/")[2]
        if not re.fullmatch(_NAME, identity):
            raise ValueError(f"{identity!r} is not a valid name of a backend, so it needs a `name`")
        place = ("localhost", 0, f"{scheme}:{path}")
        return model.Backend(identity, *place, self.weight, scheme, path, self.backup, self.slow_start)


class BackendsFileConfig(Section):
    """A file with backends only. The key is required, even for no backends, since an empty file is an error."""

    backends: tuple[BackendConfig, ...]

    @model_validator(mode="after")
    def _check_together(self) -> BackendsFileConfig:
        check_distinct(backend.to_model() for backend in self.backends)
        return self


def check_distinct(backends: Iterable[model.Backend], where: str = "") -> None:
    """Raises ValueError, which names the setting after `where`, for two with the same name or the same URL."""
    seen: dict[str, str] = {}
    places: dict[str, str] = {}
    for backend in backends:
        if backend.id in seen:
            raise ValueError(f"{where}backends: duplicate backend {backend.id!r}")
        if backend.url in places:
            known = places[backend.url]
            raise ValueError(f"{where}backends: duplicate backend {backend.url!r}, as {known!r} already")
        seen[backend.id] = places[backend.url] = backend.id
