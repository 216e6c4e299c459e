"""The views of workers on the fleet, without workers: each records when it has a new version of the snapshot.

python -m chaos.subscribers URL COUNT    ends when its input does, and prints JSON of versions and moments
"""

from __future__ import annotations

import json
import sys
import time

from lbflask.core.model import Snapshot
from lbflask.fleet.fleet import Fleet
from lbflask.store.redis import RedisStore, connect


class RecordingStore(RedisStore):
    """A store that records when it reads a new version, in seconds of the steady clock."""

    def __init__(self, url: str) -> None:
        super().__init__(connect(url, 1.0), "lbflask")
        self.reads: list[tuple[int, float]] = []

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """See WorkerStore."""
        snapshot = super().read_snapshot(pool, known)
        if snapshot.version != known.version:
            self.reads.append((snapshot.version, time.monotonic()))
        return snapshot


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    stores = [RecordingStore(url) for _ in range(count)]
    fleets = [Fleet(store, ["default"]) for store in stores]
    for fleet in fleets:
        fleet.start()
    time.sleep(1.0)  # all have subscribed
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps([read for store in stores for read in store.reads]), flush=True)
    for fleet in fleets:
        fleet.stop()


if __name__ == "__main__":
    main()
