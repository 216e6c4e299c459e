"""Incidents of checkers, workers and instances: dead, frozen, missing, drained and forgotten, half upgraded."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

from chaos.gameday.backends import correct_file
from chaos.gameday.fleet import GameFleet
from chaos.gameday.incident import Incident
from devtools.environment import HOST
from devtools.wait import eventually

#: Seconds of the lease of the leading checker, and a margin.
LEASE = 4.0
#: Seconds in which a checker that has ended counts as one on stand-by.
LISTED = LEASE + 1
#: Seconds after a start of workers in which others may still be starting, or finishing.
GRACE = 12.0
#: Seconds after which a lost line is no news any more.
FORGOTTEN = 75.0
#: Another version of the package, as another release would report it.
OTHER_VERSION = "99.0"
#: Descriptors of a worker that has too few, and connections that take them.
FEW, TAKEN = 64, 120
CHECKER = "`python -m lbflask.healthcheck`"


def no_checker(fleet: GameFleet) -> None:
    for checker in fleet.checkers:
        checker.kill()
    fleet.checkers.clear()


def freeze_leader(fleet: GameFleet) -> None:
    fleet.leader().signal(signal.SIGSTOP)


def end_frozen(fleet: GameFleet) -> None:
    """Kill checkers that are stopped."""
    for checker in [*fleet.checkers]:
        if not checker.running or _state(checker.pid) == "T":
            checker.kill()
            fleet.checkers.remove(checker)


def no_standby(fleet: GameFleet) -> None:
    leader = fleet.leader()
    standby = next(one for one in fleet.checkers if one is not leader)
    standby.kill()
    fleet.checkers.remove(standby)


def other_checkers(fleet: GameFleet) -> None:
    """The checkers run with a file that lacks a backend."""
    fleet.write(lambda settings: settings["backends"].pop(), only=(None,))
    number = len(fleet.checkers)
    no_checker(fleet)
    fleet.checkers += [fleet.start_checker() for _ in range(number)]


def freeze_worker(fleet: GameFleet) -> None:
    os.kill(fleet.balancers[0].workers()[0], signal.SIGSTOP)


def kill_worker(fleet: GameFleet) -> None:
    os.kill(fleet.balancers[0].workers()[0], signal.SIGKILL)


def lose_worker(fleet: GameFleet) -> None:
    """The master is stopped, so that it replaces no worker that ends."""
    fleet.balancers[0].signal(signal.SIGSTOP)
    kill_worker(fleet)


def drain_instance(fleet: GameFleet) -> None:
    fleet.command("instance", "drain", _instances(fleet)[1])


def drain(fleet: GameFleet) -> None:
    fleet.act("w1", "drain")


def last_off(fleet: GameFleet) -> None:
    """The only backend of a pool is switched off."""
    fleet.command("off", "s1", "--pool", "single", "--force")


def kill_instance(fleet: GameFleet) -> None:
    """The master and the workers of the second instance."""
    fleet.balancers[1].kill()


def other_version(fleet: GameFleet) -> None:
    """The second instance is started with a package of another version."""
    folder = fleet.work / "other" / f"lbflask-{OTHER_VERSION}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lbflask\nVersion: {OTHER_VERSION}\n")
    fleet.balancers[1].stop()
    fleet.replace_instance(1, PYTHONPATH=str(folder.parent))


def usual_version(fleet: GameFleet) -> None:
    fleet.balancers[1].stop()
    fleet.replace_instance(1)


def half_upgrade(fleet: GameFleet) -> None:
    """SIGUSR2, and no SIGTERM to the old master."""
    fleet.balancers[0].upgrade()


def few_descriptors(fleet: GameFleet) -> None:
    """The workers of an instance may open few files, and clients hold them."""
    for pid in fleet.balancers[0].workers():
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, usual[1]))
        fleet.incident.callback(resource.prlimit, pid, resource.RLIMIT_NOFILE, usual)
    head = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n"
    fleet.incident.enter_context(fleet.clients(0).holding(head, TAKEN))


def full_disk(fleet: GameFleet) -> None:
    """The access log is on a device that is full."""
    fleet.apply(lambda settings: settings.update(access_log="/dev/full"), only=(0,))


def free_disk(fleet: GameFleet) -> None:
    """The log is on a device with room: no file stands for a disk that was freed."""
    fleet.apply()


def await_workers(fleet: GameFleet) -> None:
    """gunicorn replaces the worker by itself."""
    eventually(lambda: len(fleet.balancers[0].workers()) == 2, "the worker is replaced", 20)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _instances(fleet: GameFleet) -> list[str]:
    return [one["name"] for one in json.loads(fleet.command("status", "--json"))["fleet"]["instances"]]


INCIDENTS = [
    Incident("no checker", no_checker,
             {"doctor": r"checker of default: (no heartbeat|\S+ leads, but has sent no heartbeat) for \d+ s",
              "status": "checker"}, "no-checker", advice=CHECKER, wrong="checker of default: .*last heartbeat",
             checks=LEASE, settles=LISTED),
    Incident("leading checker frozen", freeze_leader,
             {"doctor": "checker of default: (.* leads, but has sent no heartbeat for|no other checker runs: when)",
              "events": "leader|leads"}, "no-checker", advice=CHECKER, by_hand=end_frozen,
             hand="end the frozen process", checks=LEASE + 1, settles=LISTED),
    Incident("no stand-by checker", no_standby, {"doctor": r"checker of default: no other checker runs: when \S+ ends"},
             "no-checker", advice=CHECKER, checks=LEASE, settles=LISTED),
    Incident("checkers with another configuration", other_checkers,
             {"doctor": r"backend w3: checking.*has reported no check of it|backend w3: unknown"},
             "configurations-differ", advice="another configuration.*`lbflask reload`", by_hand=correct_file,
             hand="give the checkers the file of the instances", checks=LEASE + 6, settles=LISTED),
    Incident("worker frozen", freeze_worker,
             {"doctor": r"instance .*: worker \d+ has been silent for \d+ s.*1 of 2 workers serve"},
             "workers-missing", advice=r"`kill -KILL \d+`", wrong="^workers: "),
    Incident("worker killed", kill_worker, {"log": r"SIGKILL|was sent|signal 9"}, "workers-missing",
             by_hand=await_workers, hand="none: gunicorn replaces it"),
    Incident("workers fewer than expected", lose_worker, {"doctor": "instance .*1 of 2 workers"}, "workers-missing",
             advice=r"`kill -(CONT|KILL) \d+`", wrong="^workers: "),
    Incident("instance drained and forgotten", drain_instance,
             {"doctor": r"instance .*: its /health responds 503: drained by \S+", "events": "drain"},
             "clients-get-503", advice="`lbflask instance undrain "),
    Incident("backend drained and forgotten", drain,
             {"doctor": r"backend w1: drained by \S+", "status": "w1 .*draining", "events": "w1"}, "backend-down",
             advice="`lbflask enable w1`"),
    Incident("last backend off", last_off,
             {"doctor": "pool single: no backend can serve: clients get 503", "status": "s1 .*off"},
             "clients-get-503", advice="`lbflask enable s1`", wrong="pool single: 1 of 1"),
    Incident("instance killed", kill_instance, {"doctor": r"instance .*: silent for \d+ s with all its workers"},
             "workers-missing", advice="`lbflask serve`", wrong="^workers: "),
    Incident("another version", other_version, {"doctor": r"version: not all have the same: \S+ at \S+; 99\.0 at \S+"},
             "configurations-differ", advice="update all instances", wrong="^version: all", by_hand=usual_version,
             hand="install one version, and start the instance", checks=2.0),
    Incident("upgrade half done", half_upgrade, {"doctor": "instance .*: 4 workers serve, 2 are expected: an upgrade"},
             "workers-missing", advice=r"`kill -TERM \d+`", wrong="^workers: ", checks=GRACE),
    Incident("descriptors exhausted", few_descriptors,
             {"doctor": r"instance .*: worker \d+ has \d+ of 64 file descriptors open"}, "descriptors",
             advice=r"`prlimit --pid \d+ --nofile=256:`", checks=2.0, viewer=1),
    Incident("disk of the access log full", full_disk,
             {"doctor": r"instance .*: \d+ lines? of the access log w\S+ lost in the last minute: .*/dev/full",
              "log": "(?i)No space left|lost", "metrics": r"log_lines_dropped_total\S* [1-9]"}, "log-lines-lost",
             advice="`df -h /dev`", by_hand=free_disk, hand="free the disk", checks=2.0, ended_within=FORGOTTEN),
]  # fmt: skip
