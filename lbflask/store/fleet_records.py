"""The records of the whole fleet: drains, events, configurations. As in `records`, invalid ones count as absent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from lbflask.core.bans import MAX_DURATION as MAX_BAN
from lbflask.core.bans import Ban, banned_network
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.instance_drain import MAX_DURATION, InstanceDrain
from lbflask.core.operator_note import MAX_REASON
from lbflask.core.printable import printable
from lbflask.store.ports import MAX_CONFIGURATION
from lbflask.store.records import MAX_TEXT, MAX_TIMESTAMP, STAMPED, stamped, text_of

#: The fields of an event after its kind, in the order of `FleetEvent`, whose `actor` is stored as `who`.
EVENT_FIELDS = ("what", "pool", "backend", "reason", "who")
#: A ban: its end and its begin in milliseconds, who gave it, and the details.
_BAN = re.compile(rb"(\d{1,15}):([am]):(\d{1,15}):(.{1,16000})", re.ASCII | re.DOTALL)


def parse_drains(
    now: float, entries: Iterable[tuple[str, bytes]], notes: Mapping[str, bytes] = MappingProxyType({})
) -> dict[str, InstanceDrain]:
    """The drains by instance that are not over. One that lasts longer than possible was written before the clock was
    set back, and lasts as long as possible.
    """
    drains = {}
    for instance, entry in entries:
        match = STAMPED.fullmatch(entry)
        if match is not None and int(match[1]) / 1000 > now:
            until = min(int(match[1]) / 1000, now + MAX_DURATION)
            since, reason = stamped(notes.get(instance, b""), now)
            texts = text_of(match[2]), text_of(reason, MAX_REASON)
            drains[instance] = InstanceDrain(until, texts[0], since or 0.0, texts[1])
    return drains


def ban_details(ban: Ban) -> str:
    """The part of a record that scripts do not read."""
    return json.dumps({"actor": ban.actor, "reason": ban.reason, "rule": ban.rule}, separators=(",", ":"))


def parse_bans(now: float, entries: Iterable[tuple[str, bytes]]) -> list[Ban]:
    """The bans in records. One that lasts longer than possible lasts as long as possible, as for drains."""
    bans = []
    for network, record in entries:
        match = _BAN.fullmatch(record)
        try:
            if match is None or banned_network(network) != network:
                continue
            details = json.loads(match[4])
            texts = [printable(str(details.get(name, ""))[:MAX_TEXT]) for name in ("actor", "reason", "rule")]
        except (ValueError, AttributeError, RecursionError):
            continue
        until = min(int(match[1]) / 1000, now + MAX_BAN)
        bans.append(Ban(network, until, min(int(match[3]) / 1000, now), *texts))
    return bans


def event_values(event: FleetEvent) -> tuple[str, ...]:
    """The kind and the EVENT_FIELDS of an event."""
    return event.kind.value, event.what, event.pool, event.backend, event.reason, event.actor


def event_id(text: str) -> str:
    """The id of an event as the store accepts it. Raises ValueError for anything else."""
    if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is not the id of an event")
    return text


def parse_events(entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[FleetEvent]:
    """The events in entries of the stream, without those of unknown kinds and with invalid ids."""
    events = []
    for id_, entry in entries:
        texts = {text_of(name): text_of(value) for name, value in entry.items()}
        what, pool, backend, reason, actor = (texts.get(name, "") for name in EVENT_FIELDS)
        try:
            event = FleetEvent(Kind(texts.get("kind", "")), what, pool, backend, reason, actor, event_id(id_.decode()))
        except ValueError:
            continue
        if event.at <= MAX_TIMESTAMP:
            events.append(event)
    return events


def parse_configuration(record: bytes) -> dict[str, Any] | None:
    """The published settings in a record; None if it is invalid or too long."""
    if len(record) > MAX_CONFIGURATION:
        return None
    try:
        settings = json.loads(record)
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None
