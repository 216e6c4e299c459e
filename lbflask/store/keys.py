"""Every Redis key: its content, its writer, its end. `docs/redis-keys.md` is generated from this module.

All keys of a pool carry the tag `{namespace:pool}`, so that one script touches one slot of a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from lbflask.core.rate_limit import RateLimit

_PREFACE = """\
Everything that lbflask stores in Redis: the content, the writer, the end of each key. All keys of a pool carry the tag
`{namespace:pool}`, so that one script touches one slot of a cluster. The source is `lbflask/store/keys.py`."""


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """The keys of one pool."""

    namespace: str
    pool: str

    def _key(self, name: str) -> str:
        return f"{{{self.namespace}:{self.pool}}}:{name}"

    @property
    def ticket(self) -> str:
        """Integer: the number of tickets issued. Workers, by INCRBY. Never expires."""
        return self._key("ticket")

    @property
    def active(self) -> str:
        """Hash of backend id to the JSON of its active health. The leading checker, through write_active.lua."""
        return self._key("active")

    @property
    def ejected(self) -> str:
        """Hash of backend id to the JSON of its latest ejection. Workers, through two scripts."""
        return self._key("ejected")

    @property
    def failures(self) -> str:
        """Hash of backend id to `opened base failures weight` of its window. Workers, through count_failures.lua."""
        return self._key("failures")

    @property
    def attempts(self) -> str:
        """Hash of backend id to the attempts of all workers so far; only differences mean anything. Never expires."""
        return self._key("attempts")

    @property
    def probe(self) -> str:
        """String: the worker that may probe an ejected backend. Expires with the lease."""
        return self._key("probe")

    @property
    def workers(self) -> str:
        """Hash of worker id to `at:loads`: its latest beat, and its requests in flight. Expires without beats."""
        return self._key("workers")

    @property
    def reports(self) -> str:
        """Hash of worker id to `at:report`: JSON of its identity and latest counts. Workers. Expires without beats."""
        return self._key("reports")

    @property
    def slots(self) -> str:
        """Hash of worker id to its slots and its waiting requests. Workers, through hold_slots.lua."""
        return self._key("slots")

    @property
    def overrides(self) -> str:
        """Hash of backend id to the JSON of its override. The admin API, through write_override.lua."""
        return self._key("overrides")

    @property
    def discovered(self) -> str:
        """JSON list of the discovered backends. The leading checker, through write_discovered.lua."""
        return self._key("discovered")

    @property
    def secret(self) -> str:
        """String: the key that signs the cookies of sticky sessions. The first worker that needs it."""
        return self._key("secret")

    @property
    def trial(self) -> str:
        """Key and channel: for a test whether the store accepts writes. Workers. Deleted by the same script."""
        return self._key("trial")

    @property
    def version(self) -> str:
        """Microseconds of the server's clock at the latest change of a status. All writers of statuses."""
        return self._key("version")

    @property
    def heartbeat(self) -> str:
        """`at:interval`, both in milliseconds: the time of the checker's latest heartbeat, and when the next is due."""
        return self._key("heartbeat")

    @property
    def leader(self) -> str:
        """String: the leading checker. Expires with the lease."""
        return self._key("leader")

    @property
    def epoch(self) -> str:
        """Microseconds of the server's clock at the latest election; other epochs may not write. Never expires."""
        return self._key("epoch")

    @property
    def changes(self) -> str:
        """Channel: a status of the pool changed; the message is the new version."""
        return self._key("changes")

    @property
    def suspects(self) -> str:
        """Channel: a worker could not reach a backend; the message is the backend's id."""
        return self._key("suspects")

    @property
    def free_slots(self) -> str:
        """Channel: slots were released while requests wait, or are called for; the message is empty."""
        return self._key("free-slots")


def bucket(namespace: str, limit: RateLimit, key: str) -> str:
    """String `at missing`: a bucket of a rate limit, by a digest of the limit's numbers and the request key. Workers,
    through take_token.lua. Expires when it is full again. Without a pool's tag, so buckets spread over a cluster.
    """
    identity = f"{limit.count}/{limit.period}/{limit.burst}/{key}".encode("utf-8", "surrogateescape")
    return f"{{{namespace}:rate:{limit.name}:{blake2b(identity, digest_size=16).hexdigest()}}}"


@dataclass(frozen=True, slots=True)
class FleetKeys:
    """The keys of the whole fleet, which look like those of a pool without a name."""

    namespace: str

    @property
    def reloads(self) -> str:
        """Channel: a worker has applied a new configuration, so checkers have to reload theirs."""
        return f"{{{self.namespace}:}}:reloads"

    @property
    def events(self) -> str:
        """Stream of the latest events of the fleet. The author of each change. Cut to some thousands; never expires."""
        return f"{{{self.namespace}:}}:events"


def as_markdown() -> str:
    """The table of `docs/redis-keys.md`: every property of the keys with its docstring."""
    rows = [
        f"| `{value.fget(keys)}` | {value.__doc__} |"
        for keys in (PoolKeys("namespace", "pool"), FleetKeys("namespace"))
        for value in vars(type(keys)).values()
        if isinstance(value, property) and value.fget is not None
    ]
    description = " ".join((bucket.__doc__ or "").split())
    rows.append(f"| `{{namespace:rate:limit:digest}}` | {description} |")
    return "\n".join(["# Redis keys", "", _PREFACE, "", "| key | content |", "| --- | --- |", *rows, ""])
