"""The parts of a worker, joined without the network."""

from __future__ import annotations

import gc

from benchmarks.hot_path import Rig


def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    """Its objects end with it, and the next request finds their memory in the processor's caches."""
    rig = Rig()
    for _ in range(100):
        rig.serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            rig.serve()
        assert gc.collect() < 100
    finally:
        gc.enable()
