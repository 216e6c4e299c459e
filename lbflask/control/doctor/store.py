"""Findings about the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lbflask.control.api.models import Finding, PoolView, StateView
from lbflask.control.doctor import advice
from lbflask.control.doctor.findings import CommandFacts, bad, good, warning
from lbflask.store.ports import StoreUnavailable

#: Round trip to the store, in seconds, that is worth a warning.
MAX_STORE_LATENCY = 0.02
#: Share of the store's memory limit from which on it is worth a warning.
FULL_FROM = 0.8


def store_answer(state: StateView, ping: Callable[[], float]) -> float | StoreUnavailable:
    """The seconds that the store takes to answer, or why it does not. `ping` returns seconds, or raises
    StoreUnavailable.
    """
    if not state.fleet.store.connected:
        return StoreUnavailable(state.fleet.store.why, state.fleet.store.cause)
    try:
        return ping()
    except StoreUnavailable as error:
        return error


def memory_findings(facts: CommandFacts) -> Iterator[Finding]:
    """Whether the store is about to refuse writes, or to forget what operators have set."""
    memory = facts.memory
    if memory is None:
        return
    if memory.policy.startswith("allkeys-"):
        yield warning(
            "store memory", f"`maxmemory-policy` is {memory.policy}: at its limit it deletes overrides and health",
            f"`{facts.redis_cli} config set maxmemory-policy noeviction`, or a server of its own for lbflask",
        )  # fmt: skip
    if memory.limit and memory.used >= FULL_FROM * memory.limit:
        then = "refuses writes" if memory.policy == "noeviction" else "deletes keys"
        yield warning(
            "store memory",
            f"{memory.used / memory.limit:.0%} of {memory.limit / 2**20:.0f} MiB are in use; at the limit it {then}",
            f"`{facts.redis_cli} --bigkeys` shows what fills it; `{facts.redis_cli} config set maxmemory "
            f"{advice.room(memory)}` gives it more",
        )  # fmt: skip


def store_findings(answer: float | StoreUnavailable, facts: CommandFacts) -> Iterator[Finding]:
    """Whether the store answers, and how fast."""
    if isinstance(answer, StoreUnavailable):
        yield bad(
            "store",
            f"unreachable or rejects commands; each worker balances by itself: {answer}",
            advice.for_store(answer.cause, facts),
        )
        return
    finding = f"answers in {answer * 1000:.1f} ms"
    if answer > MAX_STORE_LATENCY:
        remedy = (
            "requests that need a ticket wait that long; move it closer or give it a free core: "
            f"`{facts.redis_cli} --latency` measures it"
        )
        yield warning("store", finding, remedy)
    else:
        yield good("store", finding)


def emptied_findings(pool: PoolView, now: float) -> Iterator[Finding]:
    """What operators had set in the pool and the store has lost. `now` is by the store's clock."""
    lost = pool.forgotten
    if lost is None:
        return
    again = ", ".join(f"`{command}`" for command in lost.commands)
    yield warning(
        "store data",
        f"the store was emptied {max(0.0, now - lost.at):.0f} s ago, by FLUSHALL or a restart without its data: pool "
        f"{pool.name} has lost what operators had set for {', '.join(lost.backends)}",
        f"set it again: {again}",
    )
