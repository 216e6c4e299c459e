"""Findings about the discovery sources of pools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from lbflask.config.discovery import Where
from lbflask.control.api.models import Finding, Origin, PoolView, SourceFailureView
from lbflask.control.doctor.findings import bad, warning
from lbflask.core.discovery import SourceCause

_QUERY: Final = "`dig {name}` on {host} repeats the query (with `@ADDRESS` of `discovery.nameservers`, if set): "
#: What helps, by cause. `name` is what a query or `ls` takes, `host` the machine of the leading checker.
_ADVICE: Final[Mapping[SourceCause, str]] = MappingProxyType(
    {
        SourceCause.NO_NAME: _QUERY + "create the record in DNS, or correct `discovery.source`",
        SourceCause.NO_RECORDS: _QUERY + "add the records in DNS, or correct `discovery.source`",
        SourceCause.NAME_SERVER: _QUERY + "start the name servers, or correct `discovery.nameservers`, without which "
        "those of /etc/resolv.conf there are used",
        SourceCause.MISSING: "on {host}: `ls -l {name}`; write the file again, or correct `discovery.source`",
        SourceCause.UNREADABLE: "on {host}: `ls -l {name}`; give the user of the checker the right to read it",
        SourceCause.INVALID: "on {host}: correct {name}; what writes it is safe if it writes another file and renames "
        "that",
    }
)
_ANY: Final = "the log of the checker on {host} has the details"


def discovery_findings(pool: PoolView, now: float) -> Iterator[Finding]:
    """Whether the source of the pool fails, as its checker reports it; nothing while that is silent. `now` is by the
    store's clock.
    """
    failure = pool.source_failure
    if failure is None or pool.checker.silent:
        return
    found = sum(backend.origin is Origin.DISCOVERED for backend in pool.backends)
    stay = f"the {found} backends that it gave last stay" if found > 1 else "the backend that it gave last stays"
    text = f"{failure.source} has failed for {max(0.0, now - failure.since):.0f} s: {failure.reason}"
    finding = warning if found else bad
    yield finding(
        f"discovery of {pool.name}", f"{text}; {stay if found else 'it has given no backend'}", _advice(pool, failure)
    )


def _advice(pool: PoolView, failure: SourceFailureView) -> str:
    try:
        kind, name, _ = Where.parse(failure.source)
    except ValueError:  # of a later version
        kind, name = "", failure.source
    host = pool.checker.leader.partition(":")[0] or "the machine of the checker"
    return _ADVICE.get(failure.cause, _ANY).format(name=f"{name} SRV" if kind == "srv" else name, host=host)
