"""What clients got: the cause of each answer, and counts of answers that can be added over workers.

An answer is what ends one request of a client, with or without a backend. Attempts are counted apart from it: one
answer may need several, or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

#: Keys of a report. Beyond them the rarer half loses names and exact statuses, so that at most five for each cause are
#: added. The sum stays exact.
MOST_KEYS = 48


class AnswerCause(StrEnum):
    """Why a client got its answer."""

    BACKEND = "backend"  #: the response of a backend, whole and whatever its status
    RATE_LIMIT = "rate_limit"  #: beyond a rate limit
    NO_BACKEND = "no_backend"  #: no backend of the pool could serve
    QUEUE_FULL = "queue_full"  #: all slots in use, and as many requests waiting as may
    QUEUE_TIMEOUT = "queue_timeout"  #: no slot became free in time
    TIMEOUT = "timeout"  #: the backend, or the whole request, took too long
    CONNECTION_FAILED = "connection_failed"  #: no connection to a backend
    BACKEND_FAILED = "backend_failed"  #: a backend broke off, or its response was invalid
    CLIENT_LEFT = "client_left"  #: the client hung up before it had the whole answer
    CLIENT_SLOW = "client_slow"  #: head or body of the request arrived too slowly
    BAD_REQUEST = "bad_request"  #: the request is invalid, or larger than allowed
    NO_ROUTE = "no_route"  #: no route leads there
    ACCESS = "access"  #: the client's address may not make the request
    AUTH = "auth"  #: no credentials, wrong ones, or the refusal of an authentication service
    AUTH_UNAVAILABLE = "auth_unavailable"  #: credentials could not be checked
    HOOK = "hook"  #: a hook refused it
    DIRECT_RESPONSE = "direct_response"  #: the configuration, or the request, makes the balancer respond by itself
    FILE = "file"  #: a file, or that there is none
    BAN = "ban"  #: the client's address is banned
    CLIENT_LIMIT = "client_limit"  #: as many requests of the client as may are in flight
    TUNNELS = "tunnels"  #: as many tunnels as may are open
    SHORTAGE = "shortage"  #: this process lacks descriptors, ports, memory, threads, the network or its disk
    INTERNAL = "internal"  #: an error of the balancer
    STOPPED = "stopped"  #: the worker ended before the request did


#: Causes of answers that are not errors of the service.
REGULAR = frozenset({AnswerCause.BACKEND, AnswerCause.DIRECT_RESPONSE, AnswerCause.FILE})


class AnswerKey(NamedTuple):
    """What answers are counted by. `status` is exact for the balancer's own (`503`) and a class for those of backends
    (`2xx`). `name` is the limit of a `rate_limit`, else the pool of an answer of the balancer's own; it may be empty.
    """

    status: str
    cause: str
    name: str = ""

    @property
    def status_class(self) -> str:
        """The class of the status, as `5xx`."""
        return f"{self.status[:1]}xx"

    @property
    def is_error(self) -> bool:
        """Whether the client got no complete answer below 500 of a backend or of the configuration."""
        return self.status_class == "5xx" or self.cause not in REGULAR


@lru_cache(maxsize=1024)
def local_answer(status: int, cause: AnswerCause, name: str) -> AnswerKey:
    """The key of an answer of the balancer's own. It is cached, since each local reply needs one."""
    return AnswerKey(str(status), cause.value, name)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a worker in its last `seconds`."""

    seconds: float = 0.0
    counts: Mapping[AnswerKey, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return sum(self.counts.values()) / max(1.0, self.seconds)


def bounded(counts: Mapping[AnswerKey, int]) -> dict[AnswerKey, int]:
    """The counts with at most MOST_KEYS keys. The rarest lose their names, and then their exact statuses."""
    if len(counts) <= MOST_KEYS:
        return dict(counts)
    found = Counter(counts)
    for key, _ in found.most_common()[MOST_KEYS // 2 :]:
        count = found.pop(key)  # first: the key may be such a one already
        found[AnswerKey(key.status_class, key.cause)] += count
    return dict(found)


def rates(answers: Iterable[Answers]) -> dict[AnswerKey, float]:
    """The answers per second of all workers together."""
    total: dict[AnswerKey, float] = {}
    for one in answers:
        for key, count in one.counts.items():
            total[key] = total.get(key, 0.0) + count / max(1.0, one.seconds)
    return total
