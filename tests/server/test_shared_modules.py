"""What the master loads for its workers: each in a process of its own, since a process is patched once."""

from __future__ import annotations

import subprocess
import sys

from devtools.environment import ROOT
from devtools.wait import PATIENCE

#: gunicorn's master before the fork, and its worker after it.
MASTER = """
import gc, sys, threading, warnings
warnings.simplefilter("error")
import lbflask.server.gunicorn_hooks, lbflask.worker
from lbflask.server.shared_modules import SharedModules, share_objects
modules = SharedModules()
modules.load()
share_objects()
"""
WORKER = """
from gevent import monkey
monkey.patch_all()
modules.take_anew()
"""
#: The names of libraries whose values gevent has replaced elsewhere. It has patched the standard library itself.
LEFT = """
originals = {id(value) for names in monkey.saved.values() for value in names.values() if callable(value)}
for name, module in sorted(sys.modules.items()):
    if name.partition(".")[0] in {*sys.stdlib_module_names, "gevent", "gunicorn", "__main__"}:
        continue
    classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
    for holder in (module, *classes):
        print(*(f"{name}:{key}" for key, value in vars(holder).items() if id(value) in originals))
"""
#: What functions and classes have taken, which nothing can take anew: defaults, variables of closures, bases.
KEPT = """
import gc, types
gc.unfreeze()
for found in gc.get_objects():
    if isinstance(found, types.FunctionType):
        cells = [cell for cell in found.__closure__ or () if cell != types.CellType()]
        defaults = [*(found.__defaults__ or ()), *(found.__kwdefaults__ or {}).values()]
        values = [*defaults, *(cell.cell_contents for cell in cells)]
    elif isinstance(found, type):
        values = found.__mro__[1:]
    else:
        continue
    if str(found.__module__).partition(".")[0] not in {*sys.stdlib_module_names, "gevent", "gunicorn", "__main__"}:
        print(*(f"{found.__module__}.{found.__qualname__}" for value in values if id(value) in originals))
"""
#: Not used here.
UNUSED = {
    "redis.client.PubSubWorkerThread",
    "redis.connection.BlockingConnectionPool.__init__",
    "redis.keyspace_notifications.KeyspaceWorkerThread",
}


def output_of(*code: str) -> list[str]:
    """The words that a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_the_master_forks_without_threads_without_a_hub_and_with_a_frozen_collector() -> None:
    hub = "from gevent._hub_local import get_hub_if_exists; print(get_hub_if_exists())"
    state = "print(len(threading.enumerate()), gc.get_freeze_count() > 10 * len(gc.get_objects()), gc.isenabled())"
    assert output_of(MASTER, hub, state) == ["None", "1", "True", "True"]


def test_a_worker_keeps_no_name_that_gevent_has_replaced() -> None:
    assert output_of(MASTER, WORKER, LEFT) == []


def test_no_function_and_no_class_keeps_what_gevent_has_replaced() -> None:
    assert {*output_of(MASTER, WORKER, LEFT, KEPT)} <= UNUSED


def test_the_names_are_taken_anew_by_the_worker_only() -> None:
    taken = "import redis.retry, time; print(redis.retry.sleep.__module__, redis.retry.sleep is time.sleep)"
    assert output_of(MASTER, taken) == ["time", "True"]
    assert output_of(MASTER, WORKER, taken) == ["gevent.hub", "True"]
