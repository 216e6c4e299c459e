"""Incidents of backends: dead, frozen, hanging, broken in part, slow, or behind a wrong name, port or certificate."""

from __future__ import annotations

import signal
import ssl
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chaos.gameday.fleet import GameFleet, Settings
from chaos.gameday.incident import NOTHING, Incident
from devtools.certificates import Authority, in_days
from devtools.environment import HOST
from devtools.ports import free_port

#: Seconds until two checks have failed, and until an ejection has been reported.
CHECKED = 4.0
#: A name that no resolver has (RFC 2606).
NO_NAME = "backend.invalid"
#: The name of the backend that an incident adds.
ADDED = "w4"
ALL_WELL = r"pool default: 3 of 3 backends serve|all 3 backends are reachable"
#: The file with the certificates of both authorities.
BUNDLE = "both-authorities.pem"


def kill(fleet: GameFleet) -> None:
    """SIGKILL."""
    fleet.members["w1"].process.kill()


def freeze(fleet: GameFleet) -> None:
    """SIGSTOP."""
    fleet.members["w1"].process.signal(signal.SIGSTOP)


def restart(fleet: GameFleet) -> None:
    """Start the backend anew."""
    fleet.members["w1"].restart()


def become(mode: str, names: tuple[str, ...] = ("w1",)) -> Callable[[GameFleet], None]:
    """A change of the mode."""

    def change(fleet: GameFleet) -> None:
        for name in names:
            fleet.members[name].become(mode)

    return change


def mend(fleet: GameFleet) -> None:
    """All backends are well again."""
    for member in fleet.members.values():
        member.become("well")


def wrong_port(fleet: GameFleet) -> None:
    """The URL of a backend has a port at which nothing listens."""
    url = f"http://{HOST}:{free_port()}"
    fleet.apply(lambda settings: settings["backends"][1].update(url=url))


def wrong_path(fleet: GameFleet) -> None:
    """The path of the checks of a backend does not exist."""
    fleet.apply(lambda settings: settings["backends"][0].update(health={"path": "/-/absent"}))


def wrong_name(fleet: GameFleet) -> None:
    """The URL of a backend has a name that does not resolve."""
    fleet.apply(partial(_add, f"http://{NO_NAME}:80"))


def correct_file(fleet: GameFleet) -> None:
    """The files have the usual configuration, which nothing has applied yet."""
    fleet.write()


def _add(url: str, settings: Settings) -> None:
    settings["backends"].append({"url": url, "name": ADDED})


class _Handler(BaseHTTPRequestHandler):
    """Answers every request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


class _Server(ThreadingHTTPServer):
    """Handshakes that clients end are no news."""

    def handle_error(self, *_: Any) -> None:
        """Write nothing."""


class TLSBackend:
    """Incidents of a backend under TLS, which the configuration gets: its certificate has expired, or no authority that
    is trusted has signed it. One for each incident.
    """

    def __init__(self, *, expired: bool = False, strange: bool = False) -> None:
        self._expired, self._strange = expired, strange
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._url = ""

    def begin(self, fleet: GameFleet) -> None:
        """Start the backend, and add it."""
        authority = Authority(fleet.work, "stranger") if self._strange else fleet.authority
        pair = authority.pair(HOST, not_after=in_days(-3) if self._expired else None)
        self._context.load_cert_chain(pair.certificate, pair.key)
        both = Path(authority.ca_file).read_text() + Path(fleet.authority.ca_file).read_text()
        (fleet.work / BUNDLE).write_text(both)
        server = _Server((HOST, 0), _Handler)
        server.socket = self._context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fleet.incident.callback(server.server_close)
        fleet.incident.callback(server.shutdown)
        self._url = f"https://{HOST}:{server.server_port}"
        fleet.apply(partial(_add, self._url))

    def renew(self, fleet: GameFleet) -> None:
        """The backend presents a new certificate from now on."""
        pair = fleet.authority.pair(HOST)
        self._context.load_cert_chain(pair.certificate, pair.key)

    def trust(self, fleet: GameFleet) -> None:
        """The files name both authorities."""

        def change(settings: Settings) -> None:
            _add(self._url, settings)
            settings["backend_tls"]["ca_file"] = str(fleet.work / BUNDLE)

        fleet.write(change)


EXPIRED, STRANGE = TLSBackend(expired=True), TLSBackend(strange=True)

INCIDENTS = [
    Incident(
        "backend killed", kill,
        {"doctor": "backend w1: .*connection refused", "status": r"w1 .*(down|ejected)", "events": "w1"},
        "backend-down", advice="nothing listens at .*: start it", wrong=ALL_WELL, by_hand=restart,
        hand="start the backend", executes=NOTHING, checks=CHECKED,
    ),
    Incident(
        "wrong port", wrong_port, {"doctor": "backend w2: .*connection refused"}, "backend-down",
        advice="correct the port in `backends` and `lbflask reload`", wrong=ALL_WELL, by_hand=correct_file,
        hand="correct the port in the file", checks=CHECKED,
    ),
    Incident(
        "backend frozen", freeze,
        {"doctor": r"backend w1: .*no (answer|response|connection) within", "status": "w1 .*down"}, "backend-down",
        advice="it hangs or is overloaded.*restart it", wrong="default: 3 of 3 backends serve", by_hand=restart,
        hand="restart the backend", executes=NOTHING, checks=CHECKED + 2,
    ),
    Incident(
        "backend hangs though its checks pass", become("hanging"),
        {"doctor": r"backend w1: .*wait for a first byte, (the oldest for \d+ s|and none came)"},
        "clients-get-504", advice="`lbflask off w1`", by_hand=restart, hand="restart the backend", checks=5.0,
    ),
    Incident(
        "backend answers 500 for everything", become("broken"),
        {"doctor": "backend w1: ejected: requests failed", "status": "w1 .*ejected"}, "ejected",
        advice="`lbflask uneject w1`", wrong="default: 3 of 3 backends serve", by_hand=mend,
        hand="correct the application", checks=2.0,
    ),
    Incident(
        "backend answers 500 on one path", become("partly"),
        {"doctor": r"backend w1: (\d+% of its attempts failed in the last ten seconds|ejected: requests failed)"},
        "clients-get-502", advice="`lbflask (off|uneject) w1`", by_hand=mend, hand="correct the application",
        checks=6.0,
    ),
    Incident(
        "backend ten times slower", become("slow"),
        {"doctor": r"backend w1: half of its responses take \d+ ms or more, \d+ times that of its peers"}, "slow",
        advice="`lbflask drain w1`", by_hand=mend, hand="give the backend its resources back", checks=6.0,
    ),
    Incident(
        "check expects another status", wrong_path, {"doctor": "backend w1: .*404", "status": "w1 .*404"},
        "backend-down", advice="Correct `health.path`.*`lbflask reload`", wrong="default: 3 of 3 backends serve",
        by_hand=correct_file, hand="correct the path in the file", checks=CHECKED,
    ),
    Incident(
        "name of a backend does not resolve", wrong_name, {"doctor": "backend w4: .*its name cannot be resolved"},
        "backend-down", advice="`getent hosts backend.invalid`.*`lbflask reload`", by_hand=correct_file,
        hand="correct the name in the file", checks=CHECKED, wrong="default: 4 of 4|all 4 backends",
    ),
    Incident(
        "certificate of a backend expired", EXPIRED.begin, {"doctor": "backend w4: .*certificate has expired"},
        "certificate-errors", advice="renew its certificate", by_hand=EXPIRED.renew, hand="renew the certificate",
        checks=CHECKED, wrong="default: 4 of 4",
    ),
    Incident(
        "certificate of a backend by an unknown authority", STRANGE.begin,
        {"doctor": "backend w4: .*(self.signed|unable to get local issuer)"}, "certificate-errors",
        advice="set `backend_tls.ca_file`.*`lbflask reload`", by_hand=STRANGE.trust,
        hand="name the authority in the file", checks=CHECKED, wrong="default: 4 of 4",
    ),
    Incident(
        "every backend answers 404", become("missing", ("w1", "w2", "w3")),
        {"doctor": r"answers: clients get 4xx, backend: [\d.]+/s, \d+% of the answers", "status": r"[1-9][\d.]* 4xx"},
        "clients-get-502", advice="their logs have the reason.*a release or a wrong path", by_hand=mend,
        hand="correct the application",
    ),
]  # fmt: skip
