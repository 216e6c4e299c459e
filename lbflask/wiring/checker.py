"""The checker's parts, joined. Loads no Flask and no `requests`."""

from __future__ import annotations

import os
import resource
import secrets
import socket
from collections.abc import Callable, Mapping
from functools import partial

from lbflask.checker.finding import Finding
from lbflask.checker.loop import PoolChecker, Terms
from lbflask.config.pools import PoolTable
from lbflask.config.schema import Config
from lbflask.core.checks import Check
from lbflask.core.hooks import HealthChange
from lbflask.core.model import Backend
from lbflask.upstream.dial import TLSRules
from lbflask.upstream.probes import Prober
from lbflask.wiring.discovery import source_for
from lbflask.wiring.store import store_for

#: Probes under way at once, where the system's limit of open files leaves room for as many.
MOST_PROBES = 4096
#: Files that are not those of probes: the store's connections, the log, names being resolved.
OTHER_FILES = 64
#: Seconds for an answer of the store. No request waits for it, and the first word about many backends is a long one.
STORE_TIMEOUT = 0.5


def checkers(config: Config, on_flip: Callable[[HealthChange], None] | None = None) -> list[PoolChecker]:
    """The checkers of all pools, over one connection to the store and one measure of probes."""
    tls = config.backend_tls
    store = store_for(config, STORE_TIMEOUT)
    probe = Prober(TLSRules(tls.verify, tls.ca_file, tls.certificate, tls.key, tls.server_name))
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    pools = config.every_pool()
    most = max(1, room_for_probes() // len(pools))
    return [
        PoolChecker(
            table.to_model(name),
            partial(check_of, table, table.checks()),
            store,
            probe,
            Terms(holder, table.health.interval, table.health.lease, most),
            finding_for(name, table),
            on_flip,
        )
        for name, table in pools.items()
    ]


def check_of(table: PoolTable, own: Mapping[str, Check], backend: Backend) -> Check:
    """How the backend is checked: as it is configured, or like any other of its pool."""
    found = own.get(backend.id)
    return table.usual_check(backend) if found is None else found


def finding_for(pool: str, table: PoolTable) -> Finding | None:
    """What finds further backends of the pool; None if it has only those that are configured."""
    source = source_for(table)
    return None if source is None else Finding(source, pool)


def room_for_probes() -> int:
    """How many probes may be under way at once; takes the files that the system lets the process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_PROBES + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_PROBES if soft == resource.RLIM_INFINITY else max(1, min(MOST_PROBES, soft - OTHER_FILES))
