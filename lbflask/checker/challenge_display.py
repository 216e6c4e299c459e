"""Shows the challenges of orders: in the store, from which all workers answer authorities, or in the DNS."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from lbflask.acme.dns_hook import DnsHook, HookError
from lbflask.checker.certificate_term import CertificateTerm
from lbflask.core.certificate_orders import Challenge, ChallengeKind, NameState, PendingOrder, dns_record

#: Seconds from the write of a challenge until the authority is asked to validate it: all workers have it by then, also
#: those that a message did not reach (fleet/follower.py).
SETTLE = 1.5

log = logging.getLogger("lbflask.checker")


@dataclass(frozen=True, slots=True)
class DnsDisplay:
    """The command that writes to the DNS, and the seconds until all name servers have what it has written."""

    hook: DnsHook
    delay: float


class ChallengeDisplay:
    """Shows challenges of one kind in one term of a leader; `dns` is for the kind dns-01, None without it."""

    def __init__(self, kind: ChallengeKind, term: CertificateTerm, dns: DnsDisplay | None) -> None:
        self.kind = kind
        self._term = term
        self._dns = dns

    def __repr__(self) -> str:
        return f"<ChallengeDisplay {self.kind.value}>"

    def check(self) -> None:
        """Raises HookError if no challenge can be shown."""
        if self._dns is not None:
            self._dns.hook.check()

    async def show(self, challenge: Challenge) -> None:
        """Show the challenge of the pending order of its name, and return when authorities find it. It is written to
        the store before it is shown, so that a successor can withdraw it.

        Raises HookError, LeaseLost, StoreUnavailable.
        """
        state = self._term.names.get(challenge.name, NameState())
        if state.order is not None and state.order.challenge != challenge:
            await self.withdraw(state.order)
            await self._term.set_name(challenge.name, replace(state, order=replace(state.order, challenge=challenge)))
        if self._dns is not None:
            await self._dns.hook.add(dns_record(challenge))
        log.info("certificates: the challenge of %s is shown", challenge.name)
        await asyncio.sleep(SETTLE if self._dns is None else self._dns.delay)

    async def withdraw(self, order: PendingOrder | None) -> None:
        """Remove from the DNS what was shown for an order that ends. A failure leaves a record that harms nothing, and
        is logged. The store forgets a challenge with its order.
        """
        challenge = None if order is None else order.challenge
        if challenge is None or challenge.kind is not ChallengeKind.DNS:
            return
        record = dns_record(challenge)
        try:
            if self._dns is None:
                raise HookError("tls.acme.dns_hook is not set any more")
            await self._dns.hook.remove(record)
        except HookError as error:
            log.warning("certificates: the record %s TXT %s stays in the DNS: %s", record.name, record.value, error)
