"""Server-sent events: the state of the fleet whenever it is another, at most once a second, and events as they come.

Each stream is a loop of its own that sleeps between two looks, so it needs a worker whose requests do not wait for each
other. It ends when the worker is told to stop; browsers then come back by themselves, to another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from flask import Request, Response

from lbflask.control.api.models import StateView
from lbflask.control.api.problems import Refused
from lbflask.control.operations import Operations
from lbflask.control.views import event_view
from lbflask.store.ports import StoreUnavailable

#: Seconds between two looks for events, and between two for the state.
LOOK_EVERY = 0.25
STATE_EVERY = 1.0
#: A look at the state is followed by a pause so many times as long.
PAUSE_AFTER_LOOK = 20
#: Seconds after which a line without meaning is sent, so that whoever has gone is noticed.
SIGN_OF_LIFE_EVERY = 10.0
#: Streams that one worker holds at once.
MOST_STREAMS = 32
#: Events that are read at once.
EVENTS_AT_ONCE = 100


class EventStreams:
    """The streams of a worker. `ends` says whether it is about to stop; the host may set it."""

    def __init__(self, operations: Operations, state: Callable[[], StateView]) -> None:
        self._operations = operations
        self._state = state
        self._open = 0
        self._known = ""  # the state, and when to look at it again
        self._look_again = float("-inf")
        self.ends: Callable[[], bool] = lambda: False

    def response(self, request: Request, *, with_state: bool) -> Response:
        """The stream. Raises Refused where there can be none now."""
        if not request.environ.get("wsgi.multithread"):
            raise Refused(503, "on this kind of worker a stream would keep out all else; ask again and again instead")
        if self._open >= MOST_STREAMS:
            raise Refused(503, f"{MOST_STREAMS} streams are open on this worker already", {"Retry-After": "5"})
        response = Response(self._run(self._since(request), with_state), mimetype="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # or nginx would keep events until there are many
        return response

    def _since(self, request: Request) -> str:
        """The last event that the client knows; the latest of all for one that comes anew."""
        known = request.headers.get("Last-Event-ID", "")
        try:
            if known:
                self._operations.events_after(known, 1)
                return known
        except ValueError:
            pass
        try:
            latest = self._operations.events(1)
        except StoreUnavailable:
            return ""
        return latest[0].id if latest else "0-0"

    def _run(self, last: str, with_state: bool) -> Iterator[str]:
        self._open += 1
        try:
            yield "retry: 1000\n\n"
            yield from self._pieces(last, with_state)
        finally:
            self._open -= 1

    def _pieces(self, last: str, with_state: bool) -> Iterator[str]:
        told, due, spoke = "", 0.0, time.monotonic()
        while not self.ends():
            pieces: list[str] = []
            if not self._operations.degraded:
                last, pieces = self._news(last)
            now = time.monotonic()
            if with_state and now >= due:
                due = now + STATE_EVERY
                state = self._state_now(now)
                if state != told:
                    told = state
                    pieces.append(f"event: state\ndata: {state}\n\n")
            if not pieces and now - spoke >= SIGN_OF_LIFE_EVERY:
                pieces.append(": still here\n\n")
            if pieces:
                spoke = now
                yield "".join(pieces)
            time.sleep(LOOK_EVERY)

    def _state_now(self, now: float) -> str:
        """The state. All streams of the worker share one look, which is to take it a small part of its time: of ten
        thousand backends it takes a quarter of a second.
        """
        if now >= self._look_again:
            self._known = self._state().model_dump_json()
            self._look_again = now + max(STATE_EVERY * 0.9, (time.monotonic() - now) * PAUSE_AFTER_LOOK)
        return self._known

    def _news(self, last: str) -> tuple[str, list[str]]:
        try:
            events = self._operations.events_after(last or "0-0", EVENTS_AT_ONCE)
        except StoreUnavailable:
            return last, []
        pieces = [f"id: {event.id}\nevent: event\ndata: {event_view(event).model_dump_json()}\n\n" for event in events]
        return (events[-1].id if events else last), pieces
