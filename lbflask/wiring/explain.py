"""`explain` with the facts of the store. It consumes none of them: neither a ticket nor a probe."""

from __future__ import annotations

from lbflask.config.schema import Config
from lbflask.control import explain
from lbflask.control.operations import Running
from lbflask.core.bans import Ban, BanList
from lbflask.core.explain import Explanation, RequestQuery
from lbflask.core.model import NOTHING_KNOWN, Snapshot
from lbflask.store.ports import StoreUnavailable
from lbflask.wiring.adapters import store_for

#: Seconds to wait for the store. No request depends on it.
STORE_TIMEOUT = 2.0


def explained(config: Config, query: RequestQuery) -> tuple[Explanation, str]:
    """The explanation by the state of the fleet, and the error of the store: empty when the store has answered."""
    store, store_error = store_for(config, STORE_TIMEOUT), ""

    def pool_state(pool: str) -> tuple[Snapshot, int]:
        nonlocal store_error
        try:
            return store.read_snapshot(pool, NOTHING_KNOWN), store.take_tickets(pool, 0)
        except StoreUnavailable as error:
            store_error = str(error)
            return NOTHING_KNOWN, 0

    def find_ban(client: str) -> Ban | None:
        nonlocal store_error
        if store_error:
            return None
        try:
            read = store.read_bans(0)
        except StoreUnavailable as error:
            store_error = str(error)
            return None
        known, now = BanList(), read.moment / 1_000_000
        known.replace(read.bans, now)
        return known.find(client, now)

    try:
        explanation = explain.explained(config, Running.from_config(config).pools, query, pool_state, find_ban)
    finally:
        store.close()
    return explanation, store_error
