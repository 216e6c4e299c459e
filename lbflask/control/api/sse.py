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
POLL_INTERVAL = 0.25
STATE_INTERVAL = 1.0
#: A look at the state is followed by a pause so many times as long.
PAUSE_FACTOR = 20
#: Seconds after which a line without meaning is sent, so that whoever has gone is noticed.
KEEPALIVE_INTERVAL = 10.0
#: Streams that one worker holds at once.
MAX_STREAMS = 32
#: Events that are read at once.
EVENTS_PER_READ = 100


class EventStreams:
    """The streams of a worker; all end when `ends` returns True."""

    def __init__(self, operations: Operations, state: Callable[[], StateView], ends: Callable[[], bool]) -> None:
        self._operations = operations
        self._state = state
        self._open = 0
        self._state_json = ""  # the state, and when to look at it again
        self._next_read = float("-inf")
        self.ends = ends

    def response(self, request: Request, *, with_state: bool) -> Response:
        """The stream. Raises Refused where there can be none now."""
        if not request.environ.get("wsgi.multithread"):
            raise Refused(503, "on this kind of worker a stream would keep out all else; ask again and again instead")
        if self._open >= MAX_STREAMS:
            raise Refused(503, f"{MAX_STREAMS} streams are open on this worker already", {"Retry-After": "5"})
        response = Response(self._run(self._first_event_id(request), with_state), mimetype="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # or nginx would keep events until there are many
        return response

    def _first_event_id(self, request: Request) -> str:
        """The last event that the client knows; the latest of all for one that comes anew."""
        last = request.headers.get("Last-Event-ID", "")
        try:
            if last:
                self._operations.events_after(last, 1)
                return last
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
        sent_state, next_state, last_sent = "", 0.0, time.monotonic()
        while not self.ends():
            pieces: list[str] = []
            if not self._operations.degraded:
                last, pieces = self._new_events(last)
            now = time.monotonic()
            if with_state and now >= next_state:
                next_state = now + STATE_INTERVAL
                state = self._current_state(now)
                if state != sent_state:
                    sent_state = state
                    pieces.append(f"event: state\ndata: {state}\n\n")
            if not pieces and now - last_sent >= KEEPALIVE_INTERVAL:
                pieces.append(": still here\n\n")
            if pieces:
                last_sent = now
                yield "".join(pieces)
            time.sleep(POLL_INTERVAL)

    def _current_state(self, now: float) -> str:
        """The state. All streams of the worker share one look, which is to take it a small part of its time: of ten
        thousand backends it takes a quarter of a second.
        """
        if now >= self._next_read:
            self._state_json = self._state().model_dump_json()
            self._next_read = now + max(STATE_INTERVAL * 0.9, (time.monotonic() - now) * PAUSE_FACTOR)
        return self._state_json

    def _new_events(self, last: str) -> tuple[str, list[str]]:
        try:
            events = self._operations.events_after(last or "0-0", EVENTS_PER_READ)
        except StoreUnavailable:
            return last, []
        pieces = [f"id: {event.id}\nevent: event\ndata: {event_view(event).model_dump_json()}\n\n" for event in events]
        return (events[-1].id if events else last), pieces
