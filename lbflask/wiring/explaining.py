"""`explain` with the facts of the store, of which it takes none away: not a ticket, not a probe."""

from __future__ import annotations

from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.core.explain import Asked, Explanation, explain
from lbflask.core.model import NOTHING_KNOWN, Snapshot
from lbflask.state.ports import StoreUnavailable
from lbflask.wiring.store import store_for

#: Seconds for an answer of the store. No request waits for it.
STORE_TIMEOUT = 2.0


def explained(config: Config, asked: Asked) -> tuple[Explanation, str]:
    """The explanation by what the fleet knows, and why it knows nothing: empty when the store has answered."""
    if config.health_path and asked.target.partition("?")[0] == config.health_path:
        return Explanation("", "the health of the balancer itself (health_path)", asked.target, None, ()), ""
    pools = {name: table.to_model(name) for name, table in config.every_pool().items()}
    routes = [route.to_model() for route in config.routes]
    # Without routes there is but one way, whatever the pool's name.
    default = DEFAULT_POOL if DEFAULT_POOL in pools else None if routes else next(iter(pools))
    store, why = store_for(config, STORE_TIMEOUT), ""

    def known(pool: str) -> tuple[Snapshot, int]:
        nonlocal why
        try:
            return store.read_snapshot(pool, NOTHING_KNOWN), store.take_tickets(pool, 0)
        except StoreUnavailable as error:
            why = str(error)
            return NOTHING_KNOWN, 0

    try:
        explanation = explain(asked, routes, pools, default, known)
    finally:
        store.close()
    return explanation, why
