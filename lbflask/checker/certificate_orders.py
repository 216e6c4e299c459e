"""The orders of certificates in one term of a leader, step by step (RFC 8555).

Each step is written to the store before the next one: a successor continues the orders that it finds. Names are
independent of each other: each waits for its own moment, and backs off by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from lbflask.acme import key_material
from lbflask.acme.authority_client import AuthorityClient, AuthorityError, AuthorizationView, OrderView
from lbflask.acme.dns_hook import HookError
from lbflask.acme.key_material import BadChain
from lbflask.checker.certificate_term import CertificateTerm, WantedCertificates
from lbflask.checker.challenge_display import ChallengeDisplay
from lbflask.checker.store_calls import StoreCalls
from lbflask.core import certificate_renewal as renewal
from lbflask.core.certificate_orders import (
    AcmeStatus,
    CertificateAccount,
    Challenge,
    IssuedCertificate,
    NameState,
    PendingOrder,
    Step,
    due,
    is_stale,
    next_step,
)

#: Seconds between two questions for the state of an order: the first pause, and the longest.
FIRST_POLL, LONGEST_POLL = 0.5, 5.0
#: Seconds after which the state of a name is read again, at the latest.
REVIEW = 60.0
#: Orders that are under way at a time.
MAX_ORDERS = 8
#: Problems (RFC 8555 §6.7) after which an order may go on, as after a failure of the network, which has no code.
_PASSING = frozenset({"", "rateLimited", "serverInternal", "badNonce"})
_UNKNOWN_ACCOUNT = "accountDoesNotExist"

log = logging.getLogger("lbflask.checker")


class Orders:
    """The orders of all names in one term of a leader."""

    def __init__(
        self,
        wanted: WantedCertificates,
        term: CertificateTerm,
        display: ChallengeDisplay,
        ask: StoreCalls,
        connect: Callable[[CertificateAccount], AuthorityClient],
    ) -> None:
        self._wanted = wanted
        self._term = term
        self._display = display
        self._ask = ask
        self._connect = connect
        self._connecting = asyncio.Lock()
        self._free = asyncio.Semaphore(MAX_ORDERS)
        self._client: AuthorityClient | None = None
        self._refused: AuthorityError | None = None  # why there is no account
        self._refused_until = 0.0
        self._window_due: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Orders of {len(self._wanted.names)} names at {self._wanted.directory}>"

    async def keep(self, name: str) -> None:
        """Have a valid certificate for the name. Never ends; raises LeaseLost, StoreUnavailable."""
        while True:
            begins, now = await self.begins(name), self._term.now()
            if begins > now:
                await asyncio.sleep(min(REVIEW, begins - now))
            else:
                await self.attempt(name)

    async def begins(self, name: str) -> float:
        """When the next order of the name begins or goes on. Raises LeaseLost, StoreUnavailable."""
        await self._refresh_window(name)
        return due(name, self._state(name), self._wanted.directory, self._term.now())

    async def attempt(self, name: str) -> None:
        """Begin an order of the name, or continue it, up to its certificate or a failure, which is counted. Raises
        LeaseLost, StoreUnavailable.
        """
        async with self._free:
            try:
                await self._complete(name)
            except AuthorityError as error:
                await self._fail(name, error)
            except HookError as error:  # the order may go on, as it may with a store or a network that is back
                await self._fail(name, AuthorityError(str(error)))

    def _state(self, name: str) -> NameState:
        return self._term.names.get(name, NameState())

    async def _account_client(self) -> AuthorityClient:
        """The client of the fleet's account, which is registered if it is new. Raises AuthorityError."""
        async with self._connecting:
            if self._client is not None:
                return self._client
            if self._refused is not None and time.monotonic() < self._refused_until:
                raise self._refused
            account = self._term.account
            if account is None or account.directory != self._wanted.directory:
                account = CertificateAccount(self._wanted.directory, "", key_material.new_key())
                await self._term.set_account(account)  # before it is registered: a successor registers the same key
            client = self._connect(account)
            if not account.url:
                try:
                    url = await self._ask(client.register)
                except AuthorityError as error:
                    self._refused, self._refused_until = error, time.monotonic() + renewal.FIRST_PAUSE
                    client.close()
                    raise
                await self._term.set_account(replace(account, url=url))
            self._client = client
            return client

    async def _complete(self, name: str) -> None:
        """Begin an order or continue one, up to the certificate. Raises AuthorityError, HookError."""
        self._display.check()
        client, term = await self._account_client(), self._term
        state = self._state(name)
        order = state.order
        if order is None or order.directory != self._wanted.directory or is_stale(order, term.now()):
            await self._display.withdraw(order)
            attempts = renewal.with_try(state.attempts, term.now())
            await term.set_name(name, replace(state, order=None, attempts=attempts))
            view = await self._ask(client.new_order, name, self._replaced(state))
            order = PendingOrder(view.url, key_material.new_key(), self._wanted.directory, term.now())
            await term.set_name(name, replace(self._state(name), order=order))
            log.info("certificates: %s is ordered", name)
        else:
            log.info("certificates: the order of %s goes on", name)
            view = await self._ask(client.order, order.url)
        await self._follow(name, client, view)

    def _replaced(self, state: NameState) -> str:
        """The chain that an order renews; empty for one that this authority has not issued."""
        certificate = state.certificate
        if certificate is None or certificate.directory != self._wanted.directory:
            return ""
        return certificate.chain

    async def _follow(self, name: str, client: AuthorityClient, view: OrderView) -> None:
        """Take the steps of a pending order. Raises AuthorityError, HookError."""
        pause, asked = FIRST_POLL, False
        while (order := self._state(name).order) is not None:
            if is_stale(order, self._term.now()):
                raise AuthorityError("the order was not completed in time", code="stale")
            authorization = None
            if view.status is AcmeStatus.PENDING and view.authorizations:
                authorization = await self._ask(client.authorization, view.authorizations[0])
            step = self._step(view, authorization)
            if step is Step.GIVE_UP:
                raise AuthorityError(self._rejection(view, authorization), code="rejected")
            if step is Step.DOWNLOAD:
                await self._download(name, client, order, view)
                return
            if step is Step.FINALIZE:
                await self._ask(client.finalize, view, key_material.signing_request(name, order.key))
            elif step is Step.SHOW and not asked and authorization is not None:
                await self._show(name, client, authorization)
                asked = True
            await asyncio.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)
            view = await self._ask(client.order, order.url)

    def _step(self, view: OrderView, authorization: AuthorizationView | None) -> Step:
        if authorization is None:
            return next_step(view.status, None, None)
        challenge = authorization.challenges.get(self._wanted.kind)
        return next_step(view.status, authorization.status, None if challenge is None else challenge.status)

    def _rejection(self, view: OrderView, authorization: AuthorizationView | None) -> str:
        """Why an order cannot be completed."""
        kind = self._wanted.kind
        challenge = None if authorization is None else authorization.challenges.get(kind)
        if authorization is not None and challenge is None:
            return f"the authority does not offer {kind.value} for this name"
        return (challenge.reason if challenge else "") or view.reason or f"the order is {view.status.value}"

    async def _show(self, name: str, client: AuthorityClient, authorization: AuthorizationView) -> None:
        """Show the challenge, and ask the authority to validate it. Raises AuthorityError, HookError."""
        offered = authorization.challenges[self._wanted.kind]
        authorized = client.key_authorization(offered.token)
        await self._display.show(Challenge(self._wanted.kind, name, offered.token, authorized))
        await self._ask(client.validate, offered)

    async def _download(self, name: str, client: AuthorityClient, order: PendingOrder, view: OrderView) -> None:
        chain = await self._ask(client.download, view.certificate)
        try:
            validity = key_material.checked_chain(name, chain, order.key)
        except BadChain as error:
            raise AuthorityError(f"the certificate cannot be used: {error}", code="rejected") from None
        await self._display.withdraw(order)
        before = self._state(name)
        certificate = IssuedCertificate(chain, order.key, validity, order.directory)
        await self._term.set_name(name, NameState(certificate, None, renewal.with_success(before.attempts)))
        self._window_due.pop(name, None)
        until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(validity.ends))
        what = "issued" if before.certificate is None else "renewed"
        log.info("certificates: %s is %s, valid until %s", name, what, until)
        await self._term.record(what, f"{name}: valid until {until}")

    async def _fail(self, name: str, error: AuthorityError) -> None:
        """Count a failure, and give the order up unless it may go on."""
        state, now = self._state(name), self._term.now()
        if error.code == _UNKNOWN_ACCOUNT and self._client is not None:
            await self._forget_account()
        attempts = renewal.with_failure(name, state.attempts, now, str(error), error.retry_after)
        order = state.order if error.code in _PASSING else None
        if order is None:
            await self._display.withdraw(state.order)
        await self._term.set_name(name, NameState(state.certificate, order, attempts))
        pause = attempts.resumes - now
        log.warning("certificates: no certificate for %s, next try in %.0f s: %s", name, pause, error)
        await self._term.record("failed", f"{name}: {error}")

    async def _forget_account(self) -> None:
        """Register the key anew with the next order: the authority has lost its account."""
        if self._client is not None and self._term.account is not None:
            self._client.close()
            self._client = None
            await self._term.set_account(replace(self._term.account, url=""))

    async def _refresh_window(self, name: str) -> None:
        """Ask when the authority suggests to renew the certificate, if it is time to (RFC 9773)."""
        certificate, now = self._state(name).certificate, self._term.now()
        if certificate is None or certificate.directory != self._wanted.directory or certificate.validity.ends <= now:
            return
        if now < self._window_due.get(name, 0.0):
            return
        try:
            client = await self._account_client()
            window, retry_after = await self._ask(client.renewal_window, certificate.chain)
        except AuthorityError as error:
            log.info("certificates: the renewal window of %s is unknown: %s", name, error)
            self._window_due[name] = renewal.next_window_check(now, error.retry_after)
            return
        self._window_due[name] = renewal.next_window_check(now, retry_after)
        state = self._state(name)
        if state.certificate == certificate and window != certificate.window:
            await self._term.set_name(name, replace(state, certificate=replace(certificate, window=window)))
