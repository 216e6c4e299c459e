"""Orders and renews certificates for the fleet while it leads (RFC 8555), under the epoch of the lead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lbflask.acme.authority_client import AuthorityClient
from lbflask.checker.candidacy import Candidacy
from lbflask.checker.certificate_demand import CertificateDemand, DemandSettings
from lbflask.checker.certificate_orders import Orders
from lbflask.checker.certificate_term import CertificateStorage, CertificateTerm, WantedCertificates
from lbflask.checker.challenge_display import ChallengeDisplay, DnsDisplay
from lbflask.checker.forgotten_certificates import ForgottenCertificates
from lbflask.checker.leadership import LeaderSettings, Leadership
from lbflask.checker.store_calls import StoreCalls
from lbflask.core.certificate_orders import CertificateAccount
from lbflask.store.ports import FLEET, CheckerStore

#: Threads for the store: lease, records, events. The authority has one of its own, since its client is for one, and so
#: has the service that permits names.
STORE_THREADS = 3


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """What is ordered: the `wanted` names, and those on `demand`, None for none; `dns` writes to the DNS, if it is
    configured.
    """

    wanted: WantedCertificates
    dns: DnsDisplay | None = None
    demand: DemandSettings | None = None

    def wants(self, name: str) -> bool:
        """Whether the name is listed, or may have a certificate on demand."""
        return name in self.wanted.names or (self.demand is not None and self.demand.rule.matches(name))


class CertificateIssuer:
    """Any number may run; one leads. `connect` makes the client of an account."""

    def __init__(
        self,
        what: IssuerSettings,
        store: CheckerStore,
        settings: LeaderSettings,
        storage: CertificateStorage,
        connect: Callable[[CertificateAccount], AuthorityClient],
    ) -> None:
        self._what = what
        self._store = store
        self._settings = settings
        self._storage = storage
        self._connect = connect
        self._call, self._ask, self._ask_permission = StoreCalls(STORE_THREADS), StoreCalls(1), StoreCalls(1)
        self._leadership = Leadership(FLEET, store, self._call, settings, "")
        self._candidacy = Candidacy("the orders of certificates", self._leadership, self._lead)

    def __repr__(self) -> str:
        return f"<CertificateIssuer {self._leadership.role or 'new'}, {len(self._what.wanted.names)} names>"

    def stop(self, *, keep_lead: bool = False) -> None:
        """End `run` soon; orders under way stay in the store. `keep_lead` keeps the lease for a successor."""
        self._candidacy.stop(keep_lead=keep_lead)

    async def run(self) -> None:
        """Lead whenever no other checker does, until stopped."""
        try:
            await self._candidacy.run()
        finally:
            self._call.close()
            self._ask.close()
            self._ask_permission.close()

    async def _lead(self, epoch: int) -> None:
        """Order until stopped. Raises LeaseLost or StoreUnavailable."""
        term = CertificateTerm(epoch, self._store, self._call, self._storage, self._leadership)
        try:
            async with asyncio.TaskGroup() as tasks:
                working = [tasks.create_task(self._leadership.keep(epoch))]
                await term.take_over()
                wanted, demand = self._what.wanted, self._what.demand
                display = ChallengeDisplay(wanted.kind, term, self._what.dns)
                orders = Orders(wanted, term, display, self._ask, self._connect)
                working += [tasks.create_task(orders.keep(name)) for name in wanted.names]
                forgotten = ForgottenCertificates(term, display, self._what.wants)
                working.append(tasks.create_task(forgotten.follow()))
                if demand is not None:
                    on_demand = CertificateDemand(demand, term, orders, self._ask_permission)
                    working.append(tasks.create_task(on_demand.follow()))
                await self._candidacy.stopping.wait()
                for task in working:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
