"""Configuration of the access log besides its file and its format: header fields, and which requests it has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lbflask.config.field_types import Listed, Section, Statuses, checked_by
from lbflask.config.route_match import PathPrefix
from lbflask.config.units import SECONDS
from lbflask.core.http.status_classes import statuses_of
from lbflask.core.log_fields import check_field
from lbflask.core.log_filters import LogFilter

LoggedName = Annotated[str, checked_by(check_field)]


class LogFieldsConfig(Section):
    """Header fields in the lines of the access log as JSON. Names of secrets are refused (docs/logging.md)."""

    request: Listed[LoggedName] = ()
    """Fields of requests, such as `User-Agent`, in the object `request_headers`."""
    response: Listed[LoggedName] = ()
    """Fields of responses as clients get them, such as `X-Cache`, in the object `response_headers`."""

    def check(self, where: str, form: str) -> None:
        """Raises ValueError, which names the setting, for fields beside a format that has none."""
        for key, names in (("request", self.request), ("response", self.response)):
            if names and form != "json":
                prefix = "header" if key == "request" else "response_header"
                raise ValueError(
                    f'{where}.{key}: only access_log_format = "json" has it; a custom line has {{{prefix}.{names[0]}}}'
                )


class LogFilterConfig(Section):
    """The requests that the access log has; all unless set. Metrics count all requests."""

    status: Statuses = ()
    """Statuses, such as 404, and classes of them, such as `5xx`."""
    slower_than: Annotated[float, SECONDS, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    """Seconds: slower requests are logged, whatever their status."""
    path: Listed[PathPrefix] = ()
    """Prefixes of paths in whole segments: of others nothing is logged."""
    except_path: Listed[PathPrefix] = ()
    """The same, of which nothing is logged."""

    def to_model(self) -> LogFilter | None:
        """The filter as a value of the core; None for all requests."""
        if not (self.status or self.path or self.except_path) and self.slower_than is None:
            return None
        paths, others = (
            tuple([prefix.rstrip("/") for prefix in prefixes]) for prefixes in (self.path, self.except_path)
        )
        return LogFilter(statuses_of(self.status), self.slower_than, paths, others)
