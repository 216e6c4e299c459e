"""`explain` with the facts of the store, of which it takes none away: not a ticket, not a probe."""

from __future__ import annotations

from lbflask.config.schema import Config
from lbflask.control import explain
from lbflask.control.operations import Running
from lbflask.core.explain import Explanation, RequestQuery
from lbflask.core.model import NOTHING_KNOWN, Snapshot
from lbflask.store.ports import StoreUnavailable
from lbflask.wiring.adapters import store_for

#: Seconds for an answer of the store. No request waits for it.
STORE_TIMEOUT = 2.0


def explained(config: Config, asked: RequestQuery) -> tuple[Explanation, str]:
    """The explanation by what the fleet knows, and why it knows nothing: empty when the store has answered."""
    store, why = store_for(config, STORE_TIMEOUT), ""

    def known(pool: str) -> tuple[Snapshot, int]:
        nonlocal why
        try:
            return store.read_snapshot(pool, NOTHING_KNOWN), store.take_tickets(pool, 0)
        except StoreUnavailable as error:
            why = str(error)
            return NOTHING_KNOWN, 0

    try:
        found = explain.explained(config, Running.from_config(config).pools, asked, known)
    finally:
        store.close()
    return found, why
