"""The operations of the API on events: a page of them, and streams of new ones."""

from __future__ import annotations

from lbflask.control.api.models import EventFilter, EventPage, EventQuery, EventView
from lbflask.control.api.operation import ApiCall, Operation
from lbflask.control.api.sse import EventStreams
from lbflask.control.operations import Operations
from lbflask.core.fleet_events import ALL_EVENTS, EventSelection, FleetEvent
from lbflask.store.ports import MAX_EVENTS

_EVENT_STREAM = "text/event-stream"
#: Events per read, and reads for one page: more than the store keeps.
EVENTS_PER_READ = 500
MAX_READS = 2 * MAX_EVENTS // EVENTS_PER_READ


def event_operations(operations: Operations, streams: EventStreams) -> list[Operation]:
    """The operations that show events."""

    def page(call: ApiCall) -> EventPage:
        query: EventQuery = call.query
        events = _latest(operations, query.selection(), query.limit, query.before or "")
        more = events[-1].id if len(events) == query.limit else None
        return EventPage(events=[EventView.model_validate(event) for event in events], before=more)

    return [
        Operation("events", "GET", "/events", "Events, latest first", page, EventPage, query=EventQuery,
                  problems=(503,)),
        Operation("eventStream", "GET", "/events/stream", "New events, as server-sent events",
                  lambda call: streams.response(call.request, with_state=False, selection=call.query.selection()), None,
                  query=EventFilter, media_type=_EVENT_STREAM, problems=(503,)),
        Operation("stream", "GET", "/stream", "State and new events, as server-sent events",
                  lambda call: streams.response(call.request, with_state=True), None,
                  media_type=_EVENT_STREAM, problems=(503,)),
    ]  # fmt: skip


def _latest(operations: Operations, selection: EventSelection, limit: int, before: str) -> list[FleetEvent]:
    """The latest selected events, at most `limit`, of those before the event with this id."""
    found: list[FleetEvent] = []
    for _ in range(MAX_READS):
        read = operations.store.read_events(limit if selection == ALL_EVENTS else EVENTS_PER_READ, before=before)
        found += [event for event in read if selection.matches(event)]
        if not read or len(found) >= limit or selection == ALL_EVENTS or read[-1].at < selection.since:
            break
        before = read[-1].id
    return found[:limit]
