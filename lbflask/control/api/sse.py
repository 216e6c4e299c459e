"""Server-sent events: the state of the fleet when it changes, at most once a second, and new events.

Each stream is a loop that sleeps between two polls, so it needs a worker with concurrent requests. It ends when the
worker stops; browsers then reconnect to another worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from flask import Request, Response

from lbflask.control.api.models import EventView, StateView
from lbflask.control.api.problems import Refused
from lbflask.control.operations import Operations
from lbflask.core.fleet_events import ALL_EVENTS, EventSelection
from lbflask.store.ports import StoreUnavailable

#: Seconds between polls for events, and between polls for the state.
POLL_INTERVAL = 0.25
STATE_INTERVAL = 1.0
#: The pause after reading the state, as a multiple of the time that it took.
PAUSE_FACTOR = 20
#: Seconds without data until a comment is sent, by which a closed connection is noticed.
KEEPALIVE_INTERVAL = 10.0
#: Open streams per worker.
MAX_STREAMS = 32
#: Events per read.
EVENTS_PER_READ = 100


class EventStreams:
    """The streams of a worker; all end when `ends` returns True."""

    def __init__(self, operations: Operations, state: Callable[[], StateView], ends: Callable[[], bool]) -> None:
        self._operations = operations
        self._state = state
        self._open = 0
        self._state_json = ""  # the latest state, and when to read it again
        self._next_read = float("-inf")
        self.ends = ends

    def __repr__(self) -> str:
        return f"<EventStreams {self._open} of {MAX_STREAMS} open>"

    def response(self, request: Request, *, with_state: bool, selection: EventSelection = ALL_EVENTS) -> Response:
        """The stream of selected events. Raises Refused for workers without concurrency and above MAX_STREAMS."""
        if not request.environ.get("wsgi.multithread"):
            raise Refused(503, "on this kind of worker a stream would block other requests; poll instead")
        if self._open >= MAX_STREAMS:
            raise Refused(503, f"{MAX_STREAMS} streams are already open on this worker", {"Retry-After": "5"})
        response = Response(
            self._run(self._first_event_id(request), with_state, selection), mimetype="text/event-stream"
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer events otherwise
        return response

    def _first_event_id(self, request: Request) -> str:
        """The last event that the client has received; the latest event for a new client."""
        last = request.headers.get("Last-Event-ID", "")
        try:
            if last:
                self._operations.store.follow_events(last, 1)
                return last
        except ValueError:
            pass
        try:
            latest = self._operations.store.read_events(1)
        except StoreUnavailable:
            return ""
        return latest[0].id if latest else "0-0"

    def _run(self, last: str, with_state: bool, selection: EventSelection) -> Iterator[str]:
        self._open += 1
        try:
            yield "retry: 1000\n\n"
            yield from self._pieces(last, with_state, selection)
        finally:
            self._open -= 1

    def _pieces(self, last: str, with_state: bool, selection: EventSelection) -> Iterator[str]:
        sent_state, next_state, last_sent = "", 0.0, time.monotonic()
        while not self.ends():
            pieces: list[str] = []
            if not self._operations.fleet.degraded:
                last, pieces = self._new_events(last, selection)
            now = time.monotonic()
            if with_state and now >= next_state:
                next_state = now + STATE_INTERVAL
                state = self._current_state(now)
                if state != sent_state:
                    sent_state = state
                    pieces.append(f"event: state\ndata: {state}\n\n")
            if not pieces and now - last_sent >= KEEPALIVE_INTERVAL:
                pieces.append(": keep-alive\n\n")
            if pieces:
                last_sent = now
                yield "".join(pieces)
            time.sleep(POLL_INTERVAL)

    def _current_state(self, now: float) -> str:
        """The state, shared by all streams of the worker. Pauses keep the reading, 0.25 s for ten thousand backends, a
        small part of its time.
        """
        if now >= self._next_read:
            self._state_json = self._state().model_dump_json()
            self._next_read = now + max(STATE_INTERVAL * 0.9, (time.monotonic() - now) * PAUSE_FACTOR)
        return self._state_json

    def _new_events(self, last: str, selection: EventSelection) -> tuple[str, list[str]]:
        """The id of the latest event, and the selected events as pieces of the stream."""
        try:
            events = self._operations.store.follow_events(last or "0-0", EVENTS_PER_READ)
        except StoreUnavailable:
            return last, []
        views = [(event.id, EventView.model_validate(event)) for event in events if selection.matches(event)]
        pieces = [f"id: {id_}\nevent: event\ndata: {view.model_dump_json()}\n\n" for id_, view in views]
        return (events[-1].id if events else last), pieces
