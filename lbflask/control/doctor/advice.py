"""What helps against each cause: for a backend, by its place, and for the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from lbflask.config.certificates import day
from lbflask.control.doctor.findings import CommandFacts
from lbflask.core.failure_causes import FailureCause as Cause
from lbflask.core.model import Backend
from lbflask.store.ports import StoreMemory

_MIB = 2**20

_CERTIFICATE: Final = "`openssl s_client -connect {place} -servername {host} </dev/null | openssl x509 -noout "

#: For a backend. `host`, `port`, `place` and `url` are those of the backend.
BACKEND_ADVICE: Final[Mapping[Cause, str]] = {
    Cause.NAME: "`getent hosts {host}` shows what the name resolves to: create the record in DNS, or correct the URL "
    "and `lbflask reload`",
    Cause.NAME_SERVER: "`getent hosts {host}` tests the lookup: check the name servers in /etc/resolv.conf",
    Cause.REFUSED: "nothing listens at {place}: start it, or correct the port in `backends` and `lbflask reload`; "
    "`ss -ltn` on {host} lists ports",
    Cause.NO_ROUTE: "`ip route get {host}` shows the route: correct it, or the firewall that rejects the packets",
    Cause.TIMED_OUT: "the machine is down, or a firewall drops packets: `ping {host}`, then `curl -m 2 {url}`",
    Cause.NO_SOCKET: "the socket does not exist: start the server, or correct the path; `ls -l {place}`",
    Cause.FORBIDDEN: "give the user of this process the right to connect: `ls -l {place}`, or the firewall",
    Cause.ADMIN_LISTENER: "correct its URL: it is the admin listener of the balancer itself (`admin_bind`)",
    Cause.CLOSED: "it accepts and closes connections: its log has the reason; `curl -v {url}` repeats it",
    Cause.NO_ANSWER: "it accepts connections and does not answer: it hangs or is overloaded. `curl -m 5 {url}` repeats "
    "it; restart it, or raise `health.timeout`",
    Cause.CERTIFICATE_EXPIRED: "renew its certificate{until}: " + _CERTIFICATE + "-enddate` shows the date",
    Cause.CERTIFICATE_EARLY: "correct the clock here or on {host}, or replace the certificate: " + _CERTIFICATE
    + "-startdate`",
    Cause.CERTIFICATE_AUTHORITY: "set `backend_tls.ca_file` to the certificate of its issuer, then `lbflask reload`: "
    + _CERTIFICATE + "-issuer`",
    Cause.CERTIFICATE_NAME: "set `backend_tls.server_name` to a name in its certificate and `lbflask reload`, or "
    "replace the certificate: " + _CERTIFICATE + "-ext subjectAltName`",
    Cause.CERTIFICATE: _CERTIFICATE + "-text` shows the certificate: replace it, or set `backend_tls`",
    Cause.TLS: "`openssl s_client -connect {place}` shows the handshake; if there is no TLS, the URL of the backend "
    "begins with http://",
    Cause.TLS_FILES: "`lbflask config check` names the file: correct `backend_tls`, then `lbflask reload`",
    Cause.PROTOCOL: "another protocol is spoken at {place}: correct the port, or the scheme (https:// for TLS); "
    "`curl -v {url}` shows the answer",
    Cause.STATUS: "its log has the reason; `curl -i {url}` with the path of the check shows the answer. Correct "
    "`health.path` or `health.expect_status` if the answer is right, then `lbflask reload`",
    Cause.BODY: "`curl -i {url}` with the path of the check shows it. Correct `health.expect_body` if it is right, "
    "then `lbflask reload`",
}  # fmt: skip

#: For any other failure of a backend.
ANY_BACKEND: Final = "its log may have the reason; `curl -v {url}` repeats the request"

#: For the store. `redis_cli` is its command line, `room` a size that is enough for its data.
STORE_ADVICE: Final[Mapping[Cause, str]] = {
    Cause.NAME: "correct the host in `redis_url`, or create the record in DNS: `getent hosts` with that name",
    Cause.NAME_SERVER: "no name server answers: check /etc/resolv.conf",
    Cause.REFUSED: "start Redis or Valkey, or correct the port in `redis_url`: `{redis_cli} ping`",
    Cause.NO_ROUTE: "correct the route or the firewall to the host in `redis_url`: `ip route get HOST`",
    Cause.TIMED_OUT: "its machine is down, or a firewall drops the packets: `{redis_cli} ping`",
    Cause.NO_SOCKET: "start Redis or Valkey, or correct the path of the socket in `redis_url`",
    Cause.FORBIDDEN: "give the user of lbflask the right to open the socket in `redis_url`",
    Cause.CLOSED: "it closes connections: its log has the reason, such as `maxclients`; if another protocol is spoken "
    "there, correct the port or the scheme of `redis_url`",
    Cause.NO_ANSWER: "it hangs, is overloaded, or too far away: `{redis_cli} --latency`, `slowlog get`, and "
    "`info persistence` for a slow disk",
    Cause.CERTIFICATE_EXPIRED: "renew the certificate of the store",
    Cause.CERTIFICATE_EARLY: "correct the clock here or there, or replace the certificate of the store",
    Cause.CERTIFICATE_AUTHORITY: "add `?ssl_ca_certs=FILE` with the certificate of the issuer to `redis_url`",
    Cause.CERTIFICATE_NAME: "use a name in `redis_url` that the certificate has",
    Cause.CERTIFICATE: "replace the certificate of the store",
    Cause.TLS: "`rediss://` is for a store with TLS, `redis://` for one without: correct `redis_url`",
    Cause.SHORTAGE: "raise the limit of descriptors of this service (LimitNOFILE=, `ulimit -n`), and restart it",
    Cause.READ_ONLY: "it is a replica: point `redis_url` to the primary, or, if there is none, make it the primary: "
    "`{redis_cli} replicaof no one`; with Sentinel use `redis+sentinel://`",
    Cause.FULL: "its memory is full: `{redis_cli} info memory`, then `{redis_cli} config set maxmemory {room}` "
    "and the same in its configuration, or delete what other applications keep there",
    Cause.DISK: "it cannot save to its disk, and refuses writes: free the disk; `{redis_cli} info persistence` "
    "has the error, `bgsave` ends the refusal",
    Cause.LOGIN: "correct the user and the password in `redis_url`: `{redis_cli} acl whoami`",
    Cause.PERMISSION: "give its user all commands, keys and channels of the namespace: `{redis_cli} acl log` "
    "lists what was denied (docs/how-to/redis.md)",
    Cause.LOADING: "wait: it reads its data after a start; `{redis_cli} info persistence` shows how long",
    Cause.BUSY: "it runs a script of another application: `{redis_cli} script kill`",
    Cause.CLUSTER: "`{redis_cli} cluster info` names the missing slots; `cluster nodes` the node that is down",
    Cause.REPLICAS: "too few replicas follow it: start them, or lower `min-replicas-to-write`",
    Cause.CLIENTS: "raise `maxclients` there (`{redis_cli} config get maxclients`), or close other clients",
}

#: For any other failure of the store.
ANY_STORE: Final = (
    "`{redis_cli} ping`: is it running, reachable and the primary, with free memory "
    "and disk, and may its user read and write?"
)


def for_backend(cause: Cause, backend: Backend, expires: float | None = None) -> str:
    """What helps if the backend fails with this cause. `expires` is when its certificate expires, if that is known."""
    place = backend.path or f"{_bracketed(backend.host)}:{backend.port}"
    until = f", which was valid until {day(expires)}" if expires else ""
    names = {"host": backend.host, "port": backend.port, "place": place, "url": backend.url, "until": until}
    return BACKEND_ADVICE.get(cause, ANY_BACKEND).format(**names)


def for_store(cause: Cause, facts: CommandFacts) -> str:
    """What helps if the store fails with this cause."""
    return STORE_ADVICE.get(cause, ANY_STORE).format(redis_cli=facts.redis_cli, room=room(facts.memory))


def room(memory: StoreMemory | None) -> str:
    """Twice what the store uses or may use, as a value of `maxmemory`."""
    wanted = 128 * _MIB if memory is None else max(memory.used, memory.limit)
    return f"{math.ceil(2 * wanted / _MIB)}mb"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
