"""`GET /metrics` on the admin listener: counters of all workers of this gunicorn, and gauges of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from flask import Blueprint, Response, abort, request

from lbflask.config.certificates import CertificateFile
from lbflask.control.api.models import InstanceView
from lbflask.core import eligibility
from lbflask.core.certificate_demand import DemandRule, demanded_names
from lbflask.core.certificate_orders import CertificateState, NameState
from lbflask.core.membership import members
from lbflask.core.model import Backend, Health, Pool
from lbflask.fleet.fleet import Fleet
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.exposition import CONTENT_TYPE, Busy
from lbflask.telemetry.metrics.recorder import Sample


def fleet_samples(pools: Callable[[], Sequence[Pool]], fleet: Fleet) -> Iterator[Sample]:
    """Current samples of pools and backends."""
    for pool in pools():
        snapshot = fleet.snapshot(pool.name)
        eligible = {candidate.backend.id for candidate in eligibility.select(pool, snapshot).candidates}
        for backend in members(pool, snapshot):
            labels = pool.name, backend.id
            health = eligibility.active_health(backend, snapshot).health
            yield definitions.BACKEND_UP, labels, health is Health.UP
            for health_state in Health:
                yield definitions.BACKEND_HEALTH, (*labels, health_state.value), health is health_state
            yield definitions.BACKEND_EJECTED, labels, eligibility.ejected(backend, snapshot)
            yield definitions.BACKEND_SERVING, labels, backend.id in eligible
            yield definitions.BACKEND_WEIGHT, labels, backend.weight
        yield definitions.CHECKER_LEADS, (pool.name,), eligibility.checker_speaks(snapshot)
        if snapshot.heartbeat is not None:
            yield definitions.CHECKER_SILENCE, (pool.name,), snapshot.heartbeat


def ban_samples(fleet: Fleet) -> Iterator[Sample]:
    """The number of bans."""
    bans = fleet.bans.active()
    by_rules = sum(bool(ban.rule) for ban in bans)
    yield definitions.BANS, ("operator",), len(bans) - by_rules
    yield definitions.BANS, ("rule",), by_rules


def instance_samples(instances: Iterable[InstanceView]) -> Iterator[Sample]:
    """Current samples of the instances."""
    for instance in instances:
        counts = {"serving": len(instance.workers), "silent": len(instance.silent_workers)}
        if instance.expected_workers is not None:
            counts["expected"] = instance.expected_workers
        for state, count in counts.items():
            yield definitions.INSTANCE_WORKERS, (instance.name, state), count


def certificate_samples(certificates: Iterable[CertificateFile]) -> Iterator[Sample]:
    """When the certificates of the configuration expire, and whether their files can be used."""
    for file in certificates:
        yield definitions.CERTIFICATE_EXPIRY, (file.setting,), file.expires
        if file.setting.startswith("tls."):
            yield definitions.CERTIFICATE_UNUSABLE, (file.setting,), bool(file.unusable)


def automatic_certificate_samples(names: Iterable[str], state: CertificateState) -> Iterator[Sample]:
    """Whether names have the certificates that an authority issues, and whether their orders fail."""
    for name in names:
        known = state.names.get(name, NameState())
        yield definitions.ACME_ISSUED, (name,), known.certificate is not None
        yield definitions.ACME_FAILED_ORDERS, (name,), known.attempts.failures


def demanded_certificate_samples(rule: DemandRule, state: CertificateState) -> Iterator[Sample]:
    """How many names on demand have a certificate, and how many failed to get one."""
    known = [state.names[name] for name in demanded_names(state, rule)]
    yield definitions.ACME_ON_DEMAND, ("issued",), sum(one.certificate is not None for one in known)
    yield (
        definitions.ACME_ON_DEMAND,
        ("failed",),
        sum(one.certificate is None and one.attempts.failures > 0 for one in known),
    )


def backend_certificate_samples(
    pools: Callable[[], Sequence[Pool]], fleet: Fleet, expiry: Callable[[Backend], float | None]
) -> Iterator[Sample]:
    """When the certificates expire that backends presented: to the checker, else to this worker."""
    for pool in pools():
        snapshot = fleet.snapshot(pool.name)
        for backend in members(pool, snapshot):
            by_checks = eligibility.active_health(backend, snapshot).certificate_expires
            if expires := by_checks or expiry(backend):
                yield definitions.BACKEND_CERTIFICATE_EXPIRY, (pool.name, backend.id), expires


def blueprint(page: Callable[[Iterable[Sample]], bytes], samples: Callable[[], Iterable[Sample]]) -> Blueprint:
    """The route. `page` renders the counters together with the current samples."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def get_metrics() -> Response:
        if not request.environ.get("lbflask.admin"):
            abort(404)
        try:
            return Response(page(samples()), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
        except (Busy, OSError) as error:
            return Response(f"{error}\n", 503, content_type="text/plain; charset=utf-8")

    return routes
