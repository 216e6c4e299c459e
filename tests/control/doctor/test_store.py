from __future__ import annotations

import pytest

from lbflask.core.forgotten import ForgottenOverrides
from lbflask.core.model import Mode, Override
from lbflask.store.ports import StoreMemory
from tests.control.servers import UP, Counter

MIB = 2**20


def findings(memory: StoreMemory | None) -> list[str]:
    counter = Counter()
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    counter.store.memory = memory
    found = [one for one in counter.get("/doctor")["findings"] if one["check"] == "store memory"]
    assert all(one["level"] == "warning" and one["advice"] for one in found)
    return [one["finding"] for one in found]


@pytest.mark.parametrize(
    "memory", [None, StoreMemory(9 * MIB, 0, "noeviction"), StoreMemory(MIB, 9 * MIB, "noeviction")]
)
def test_free_or_unknown_memory_is_no_finding(memory: StoreMemory | None) -> None:
    assert findings(memory) == []


def test_a_store_that_is_nearly_full_says_what_happens_at_its_limit() -> None:
    assert findings(StoreMemory(9 * MIB, 10 * MIB, "noeviction")) == [
        "90% of 10 MiB are in use; at the limit it refuses writes"
    ]


def test_a_store_that_evicts_forgets_what_operators_have_set() -> None:
    (finding,) = findings(StoreMemory(MIB, 10 * MIB, "allkeys-lru"))
    assert finding.startswith("`maxmemory-policy` is allkeys-lru: at its limit it deletes overrides")


def test_what_an_emptied_store_has_lost_is_named_with_the_commands_that_set_it_again_until_that_is_done() -> None:
    counter = Counter()
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    lost = {"two": Override(Mode.DRAINING), "10.0.0.1:80": Override()}
    counter.fleet.pools["default"].forgotten = ForgottenOverrides(counter.clock() - 7.0, lost)

    def found() -> list[dict[str, str]]:
        return [one for one in counter.get("/doctor")["findings"] if one["check"] == "store data"]

    (finding,) = found()
    assert finding["finding"] == (
        "the store was emptied 7 s ago, by FLUSHALL or a restart without its data: pool default has lost what "
        "operators had set for two"
    )
    assert finding["advice"] == "set it again: `lbflask drain two --pool default`"
    assert counter.get("/pools/default")["forgotten"]["backends"] == ["two"]
    counter.act("POST", "/pools/default/backends/two/drain")
    assert found() == []
    assert counter.get("/pools/default")["forgotten"] is None
