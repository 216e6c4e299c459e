"""What the soak does to the fleet. Each injection returns what was lost with it, and leaves the fleet to recover."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from functools import partial

import redis

from chaos import store
from chaos.checkers import LEASE, await_successor, epoch, leader
from chaos.cluster import ejection, within
from chaos.soak.cluster import SoakCluster, has_ended, links
from chaos.soak.content import Target
from chaos.soak.verdict import BackendBroken, BackendFrozen, BackendKilled, Injection, Loss, WorkerKilled, WorkersEnded
from devtools.environment import HOST
from devtools.servers import Gunicorn
from devtools.wait import eventually
from devtools.wire import websocket_request

#: Called with the fleet, and the seconds that a failure lasts.
Action = Callable[[SoakCluster, float], Iterable[Loss]]

#: Seconds until the fleet must have recovered, and until old workers must have ended: `timeouts.graceful` and a margin.
RECOVERED_WITHIN = 60.0
ENDED_WITHIN = 60.0
#: Rounds of clients that hang up: in each, every kind of exchange at each instance, closed in both ways.
ROUNDS = 5


def worker_killed(cluster: SoakCluster, _: float) -> Iterable[Loss]:
    """SIGKILL to a worker of each instance. It is stopped first, so that it accepts no connection after the count."""
    for balancer in cluster.balancers:
        victim = balancer.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        held, since = links(balancer, [victim]), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda victim=victim: has_ended(victim), "the worker has ended")  # type: ignore[misc]
        yield WorkerKilled(since, time.monotonic(), held)


def worker_frozen(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """SIGSTOP to a worker of each instance, and SIGCONT."""
    victims = [balancer.workers()[0] for balancer in cluster.balancers]
    for victim in victims:
        os.kill(victim, signal.SIGSTOP)
    time.sleep(seconds)
    for victim in victims:
        os.kill(victim, signal.SIGCONT)
    return ()


def new_workers(cluster: SoakCluster, _: float) -> Iterable[Loss]:
    """SIGHUP with a setting that only new workers apply, to one instance after the other."""
    cluster.write(line=4000)
    for balancer in cluster.balancers:
        old = balancer.workers()
        held, since = links(balancer, old), time.monotonic()
        balancer.signal(signal.SIGHUP)
        yield _ended(balancer, old, since, held)
        balancer.await_workers(without=old)
    cluster.write()


def upgrade(cluster: SoakCluster, _: float) -> Iterable[Loss]:
    """SIGUSR2 to one instance after the other, and SIGTERM to its old master when the new one serves."""
    for balancer in cluster.balancers:
        workers = balancer.workers()
        old = balancer.upgrade()
        held, since = links(balancer, workers), time.monotonic()
        os.kill(old, signal.SIGTERM)
        yield _ended(balancer, [*workers, old], since, held)


def _ended(balancer: Gunicorn, pids: list[int], since: float, held: frozenset[tuple[int, int]]) -> Loss:
    """Workers were ended in order; connections that they got meanwhile count as theirs."""
    found = set(held)

    def ended() -> bool:
        found.update(links(balancer, pids))
        return all(map(has_ended, pids))

    eventually(ended, "the old workers have ended", ENDED_WITHIN, every=0.05)
    return WorkersEnded(since, time.monotonic(), frozenset(found))


def reloads(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """SIGHUP to both instances, again and again, with another weight each time, and at last with the first one."""
    for weight in (3, 2, 5, 1):
        cluster.write(first_weight=weight)
        for balancer in cluster.balancers:
            balancer.signal(signal.SIGHUP)
        time.sleep(seconds / 4)
    return ()


def backend_killed(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """SIGKILL to a backend, which returns later."""
    victim = cluster.backends[0]
    since = time.monotonic()
    victim.process.kill()
    loss = BackendKilled(since, time.monotonic(), victim.id)
    time.sleep(seconds)
    victim.restart()
    return (loss,)


def backend_frozen(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """SIGSTOP to a backend, and SIGCONT."""
    victim = cluster.backends[1]
    since = time.monotonic()
    victim.process.signal(signal.SIGSTOP)
    time.sleep(seconds)
    victim.process.signal(signal.SIGCONT)
    return (BackendFrozen(since, time.monotonic(), victim.id),)


def backend_broken(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """A backend responds 500 until it is ejected, while its checks succeed."""
    victim = cluster.backends[2]
    since = time.monotonic()
    victim.become("broken")
    within(lambda: ejection(cluster.client, victim.id), 10)
    time.sleep(seconds)
    victim.become("well")
    return (BackendBroken(since, time.monotonic(), victim.id),)


def backend_flapping(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """Every third check of a backend fails."""
    cluster.backends[2].become("flapping")
    time.sleep(seconds)
    cluster.backends[2].become("well")
    return ()


def backend_drained(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """An operator drains a backend, and enables it."""
    cluster.act(cluster.backends[0].id, "drain", body={"force": True})  # also while all others are down
    time.sleep(seconds)
    cluster.act(cluster.backends[0].id, "enable", instance=1)
    return ()


def leader_killed(cluster: SoakCluster, _: float) -> Iterable[Loss]:
    """SIGKILL to the leading checker. Another one replaces it when its successor has written."""
    before, victim = epoch(cluster.client), leader(cluster, cluster.client)
    since = time.time()
    victim.kill()
    await_successor(cluster.client, before, since)
    cluster.checkers.remove(victim)
    cluster.start_checker()
    return ()


def leader_frozen(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """SIGSTOP to the leading checker, for longer than its lease, and SIGCONT."""
    victim = leader(cluster, cluster.client)
    victim.signal(signal.SIGSTOP)
    time.sleep(LEASE + seconds)
    victim.signal(signal.SIGCONT)
    return ()


def checkers_killed(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """SIGKILL to all checkers; others start later."""
    for checker in cluster.checkers:
        checker.kill()
    count = len(cluster.checkers)
    cluster.checkers.clear()
    time.sleep(seconds)
    for _ in range(count):
        cluster.start_checker()
    return ()


def store_failed(kind: type[store.Killed], cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """One kind of failure of the store."""
    failure = kind(cluster.state)
    failure.begin()
    failure.last(seconds)
    failure.end()
    return ()


def clients_hang_up(cluster: SoakCluster, seconds: float) -> Iterable[Loss]:
    """Clients close their connections, half of them by a reset, before the response or in the midst of it."""
    events, half = Target("events", 0, 20), b"POST /upload/0 HTTP/1.1\r\nHost: soak\r\nContent-Length: 100000\r\n\r\n0"
    requests = {
        b"GET /get/0 HTTP/1.1\r\nHost: soak\r\n\r\n": False,
        half: False,
        b"GET /download/0/500000 HTTP/1.1\r\nHost: soak\r\n\r\n": True,
        f"GET {events} HTTP/1.1\r\nHost: soak\r\n\r\n".encode(): True,
        websocket_request("/websocket/0", bytes(16)): True,
    }
    for _ in range(ROUNDS):
        for request, reads in requests.items():
            for reset in (False, True):
                _hang_up(cluster, request, reads=reads, reset=reset)
        time.sleep(seconds / ROUNDS)
    return ()


def _hang_up(cluster: SoakCluster, request: bytes, *, reads: bool, reset: bool) -> None:
    """At each instance, send this, read a first part of the response or nothing, and close."""
    for port, tls in zip(cluster.ports, (None, cluster.trust), strict=True):
        with socket.create_connection((HOST, port), timeout=10) as plain:
            client = tls.wrap_socket(plain, server_hostname=HOST) if tls else plain
            client.sendall(request)
            if reads:
                client.recv(1024)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


#: In this order: what replaces workers comes first, so that the later ones live through the rest of the run.
#: These renew processes, or let as many requests wait as ever do. After them each process has its largest size.
WARMING: dict[str, Action] = {
    "worker killed": worker_killed,
    "new workers": new_workers,
    "upgrade": upgrade,
    "leader killed": leader_killed,
    "leader frozen": leader_frozen,
    "no checker": checkers_killed,
    "worker frozen": worker_frozen,
    "backend killed": backend_killed,
    "backend frozen": backend_frozen,
}
INJECTIONS: dict[str, Action] = {
    **WARMING,
    "backend broken": backend_broken,
    "backend flapping": backend_flapping,
    "backend drained": backend_drained,
    **{
        kind.name: partial(store_failed, kind)
        for kind in (store.Killed, store.Frozen, store.Flushed, store.Restarted, store.BlackHole)
    },
    "reloads": reloads,
    "clients hang up": clients_hang_up,
}


def inject(cluster: SoakCluster, name: str, action: Action, seconds: float) -> Injection:
    """Do it, and wait until the fleet has recovered."""
    since, losses, error = time.monotonic(), [], ""
    try:
        losses = list(action(cluster, seconds))
        eventually(cluster.recovered, "the fleet has recovered", RECOVERED_WITHIN, every=0.25)
    except (AssertionError, OSError, RuntimeError, redis.RedisError) as problem:
        error = str(problem) or repr(problem)
    return Injection(name, since, time.monotonic(), tuple(losses), error)
