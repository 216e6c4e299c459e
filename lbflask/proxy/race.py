"""Attempts of one request that run at the same time, each in a thread or greenlet of its own: the first good response
wins, and the others are ended. Their connections are closed: the rest of an exchange is never read as the next one.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

from lbflask.core import retry
from lbflask.core.faults import Fault
from lbflask.core.model import Backend
from lbflask.core.retry import RetryPolicy
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport


class Contender:
    """An attempt of a race. `began` and `ended` are times of the clock of the race."""

    def __init__(self, race: Race, backend: Backend, upstream: BackendRequest, timeouts: tuple[float, float]) -> None:
        self.backend = backend
        self.upstream = upstream
        self._timeouts = timeouts
        self.began = race.clock()
        self.ended = self.began
        self.response: BackendResponse | None = None
        self.fault: Fault | None = None
        self.error: BaseException | None = None
        self.is_done = False
        self.is_cancelled = False
        self._race = race
        self._abandon: Callable[[], None] | None = None

    def __repr__(self) -> str:
        state = "cancelled" if self.is_cancelled else "done" if self.is_done else "running"
        return f"<Contender {self.backend.id} {state}>"

    def run(self) -> None:
        """Make the attempt. A cancelled one leaves nothing behind."""
        race = self._race
        try:
            self.response = self._answer()
        except Fault as fault:
            self.fault = fault
        except BaseException as error:  # noqa: BLE001 - raised again where the client waits
            self.error = error
        with race.changed:
            self.ended, self.is_done = race.clock(), True
            cancelled = self.is_cancelled
            race.changed.notify_all()
        if cancelled:
            if self.response is not None:
                self.response.close()
            race.on_cancelled(self.backend.id)

    def _answer(self) -> BackendResponse:
        """By a new connection if a reused one had gone stale."""
        race = self._race
        try:
            return race.transport.send(self.upstream, self._timeouts)
        except Fault as fault:
            if self.is_cancelled or not retry.went_stale(fault):
                raise
        self.upstream.set_fresh()
        return race.transport.send(self.upstream, self._timeouts)

    def set_abandon(self, abandon: Callable[[], None]) -> None:
        """`abandon` ends the exchange that begins now."""
        self._abandon = abandon
        if self.is_cancelled:
            abandon()

    def abandon(self) -> None:
        """End the exchange, if one is under way."""
        if self._abandon is not None:
            self._abandon()


class Race:
    """The attempts of one request at several backends. `changed` guards what contenders find; `on_cancelled` is called
    for each that was cancelled, once it has ended. `on_gone` registers what is called when the client hangs up.
    """

    def __init__(
        self,
        transport: BackendTransport,
        policy: RetryPolicy,
        clock: Callable[[], float],
        on_cancelled: Callable[[str], None],
        on_gone: Callable[[Callable[[], None]], None] | None,
    ) -> None:
        self.transport = transport
        self.clock = clock
        self.on_cancelled = on_cancelled
        self.changed = threading.Condition()
        self.contenders: list[Contender] = []
        self._policy = policy
        self._on_gone = on_gone

    def __repr__(self) -> str:
        return f"<Race of {self.contenders}>"

    def enter(self, backend: Backend, upstream: BackendRequest, timeouts: tuple[float, float]) -> None:
        """Begin an attempt. Without a free thread it is made here."""
        contender = Contender(self, backend, upstream, timeouts)
        upstream.set_on_gone(self._registration(contender))
        self.contenders.append(contender)
        try:
            # Not a Thread: its start() waits until the thread runs.
            _thread.start_new_thread(contender.run, ())
        except RuntimeError:
            contender.run()

    def is_decided(self, within: float | None = None) -> bool:
        """Wait until there is a good response, or no attempt is left that could bring one; False if that takes longer
        than `within` seconds.
        """
        with self.changed:
            return self.changed.wait_for(self._has_result, within)

    def cancel(self) -> None:
        """End the attempts that are under way."""
        with self.changed:
            losers = [one for one in self.contenders if not one.is_done]
            for one in losers:
                one.is_cancelled = True
        for one in losers:
            one.abandon()

    def winner(self) -> Contender:
        """The attempt with a good response, or else with the first response, or else the first one; the attempts that
        are under way are cancelled. To be called once the race is decided.
        """
        self.cancel()
        done = [one for one in self.contenders if one.is_done and not one.is_cancelled]
        good = [one for one in done if self._is_good(one)]
        answered = [one for one in done if one.response is not None]
        return (good or answered or done)[0]

    def abandon(self) -> None:
        """End all exchanges, because the client has gone."""
        for one in self.contenders:
            one.abandon()

    def _has_result(self) -> bool:
        return all(one.is_done for one in self.contenders) or any(map(self._is_good, self.contenders))

    def _is_good(self, one: Contender) -> bool:
        return one.is_done and one.response is not None and retry.is_better(one.response.answer.status, self._policy)

    def _registration(self, contender: Contender) -> Callable[[Callable[[], None]], None]:
        def register(abandon: Callable[[], None]) -> None:
            contender.set_abandon(abandon)
            if self._on_gone is not None:
                self._on_gone(self.abandon)

        return register
