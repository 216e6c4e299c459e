"""Builds what orders automatic certificates, for a checker, and what follows them, for a worker.

The libraries are an optional extra, loaded only where the configuration has `tls.acme.domains`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lbflask.config.schema import Config
from lbflask.core.certificate_orders import CertificateState, ChallengeKind
from lbflask.fleet.certificate_wishes import CertificateWishes
from lbflask.fleet.shared_certificates import SharedCertificates
from lbflask.wiring.adapters import store_for
from lbflask.wiring.certificate_storage import storage_for

if TYPE_CHECKING:
    from lbflask.checker.certificate_issuer import CertificateIssuer
    from lbflask.checker.leadership import LeaderSettings
    from lbflask.store.ports import CheckerStore

#: Seconds for a command of the store: no request waits for it, and the records of all names are long.
STORE_TIMEOUT = 1.0


def shared_certificates_for(config: Config, on_change: Callable[[CertificateState], None]) -> SharedCertificates | None:
    """The follower of a worker; None without automatic certificates. Raises ConfigError."""
    if not config.tls.acme.domains:
        return None
    records, copy = storage_for(config)
    store, rule, wishes = store_for(config, STORE_TIMEOUT), config.tls.acme.demand, None
    if rule is not None:
        wishes = CertificateWishes(store, rule, _permission(config))
    return SharedCertificates(store, copy, records.state, on_change, wishes)


def _permission(config: Config) -> Callable[[str], bool]:
    """Whether a name on demand is permitted; the function may block."""
    url = config.tls.acme.on_demand_ask
    if not url:
        return lambda _name: True
    from lbflask.acme.permission import Permission  # noqa: PLC0415

    return Permission(url).allows


def issuer_for(config: Config, store: CheckerStore, settings: LeaderSettings) -> CertificateIssuer | None:
    """The issuer of a checker; None without automatic certificates. Raises ConfigError."""
    acme = config.tls.acme
    if not acme.domains:
        return None
    records, copy = storage_for(config)
    from lbflask.acme.authority_client import AuthorityClient, AuthoritySettings  # noqa: PLC0415
    from lbflask.acme.dns_hook import DnsHook  # noqa: PLC0415
    from lbflask.checker.certificate_demand import DemandSettings  # noqa: PLC0415
    from lbflask.checker.certificate_issuer import CertificateIssuer, IssuerSettings  # noqa: PLC0415
    from lbflask.checker.certificate_term import CertificateStorage, WantedCertificates  # noqa: PLC0415
    from lbflask.checker.challenge_display import DnsDisplay  # noqa: PLC0415

    authority = AuthoritySettings(acme.directory, acme.email, acme.ca)
    wanted = WantedCertificates(acme.domains, acme.directory, ChallengeKind(acme.challenge))
    storage = CertificateStorage(records, copy)
    dns = DnsDisplay(DnsHook(acme.dns_hook, acme.dns_hook_timeout), acme.dns_delay) if acme.dns_hook else None
    demand = None if acme.demand is None else DemandSettings(acme.demand, _permission(config))
    what = IssuerSettings(wanted, dns, demand)
    return CertificateIssuer(what, store, settings, storage, partial(AuthorityClient, authority))
