"""Incidents of configurations and files: instances that differ, expired certificates, sources that fail."""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from chaos.gameday.backends import correct_file
from chaos.gameday.fleet import OTHER_SECRET, GameFleet, Settings
from chaos.gameday.incident import Incident
from devtools.certificates import in_days
from devtools.environment import HOST
from devtools.wait import eventually

#: Seconds until new workers have taken over.
TAKEN_OVER = 40.0
SOURCE = "found.toml"
DIFFERENT = r"configuration: not all have the same: \w+ at \S+; \w+ at \S+"


def differ(fleet: GameFleet) -> None:
    """One instance has another time-out."""
    fleet.apply(lambda settings: settings.update(timeouts={"connect": 1}), only=(1,))


def other_secret(fleet: GameFleet) -> None:
    """One instance signs the cookies of sessions with another secret."""
    fleet.apply(lambda settings: settings["sticky"].update(secrets=[OTHER_SECRET]), only=(1,))


def expire(fleet: GameFleet) -> None:
    """The certificate of the listeners has expired: it ends when all workers use it."""
    _write(fleet, in_days(-2))
    fleet.reload()

    def expired() -> bool:
        return all(_fails(fleet, balancer.port) for balancer in fleet.balancers for _ in range(5))

    eventually(expired, "new clients reject the certificate", TAKEN_OVER, every=0.2)


def renew(fleet: GameFleet) -> None:
    """A new certificate in the same files."""
    _write(fleet, None)


def _write(fleet: GameFleet, until: datetime | None) -> None:
    pair = fleet.authority.pair(HOST, not_after=until)
    Path(fleet.certificate.certificate).write_text(Path(pair.certificate).read_text())
    Path(fleet.certificate.key).write_text(Path(pair.key).read_text())


def _fails(fleet: GameFleet, port: int) -> bool:
    """Whether a new client does not accept the certificate."""
    with suppress(OSError):
        try:
            fleet.handshake(port)
        except ssl.SSLCertVerificationError:
            return True
    return False


def lose_source(fleet: GameFleet) -> None:
    """The file of a discovered pool does not exist any more."""
    file = fleet.work / SOURCE
    restore_source(fleet)

    def discover(settings: Settings) -> None:
        settings["pools"]["found"] = {"discovery": {"source": f"file:{file}"}}
        settings["routes"].insert(0, {"name": "found", "match": {"path": "/found"}, "pool": "found"})

    fleet.apply(discover)
    eventually(lambda: json.loads(fleet.api("/pools/found").body).get("backends"), "it is discovered")
    file.unlink()


def restore_source(fleet: GameFleet) -> None:
    """The file is there."""
    (fleet.work / SOURCE).write_text(f'backends = ["{fleet.members["w1"].url}"]\n')


INCIDENTS = [
    Incident("configurations differ", differ, {"doctor": DIFFERENT},
             "configurations-differ", advice="`lbflask reload` at each", wrong="^configuration: all",
             by_hand=correct_file, hand="give all instances one file", checks=1.0),
    Incident("secrets of sessions differ", other_secret, {"doctor": DIFFERENT},
             "configurations-differ", advice="`lbflask reload` at each", wrong="^configuration: all",
             by_hand=correct_file, hand="give all instances one secret", checks=1.0),
    Incident("certificate of a listener expired", expire,
             {"doctor": r"tls.certificate: the certificate in \S+ (has )?expired .*ago"},
             "certificate-errors", advice="renew the file, which is then loaded within seconds", by_hand=renew,
             hand="renew the certificate", wrong="^certificates: valid", checks=2.0, ended_within=TAKEN_OVER),
    Incident("source of discovery fails", lose_source,
             {"doctor": rf"discovery of found: file:\S+{SOURCE} has failed for \d+ s"}, "backend-down",
             advice=f"`ls -l .*{SOURCE}`; write the file again", by_hand=restore_source, hand="write the file again",
             checks=4.0),
]  # fmt: skip
