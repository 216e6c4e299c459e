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


class Key:
    """A key or a channel of a pool or of the fleet, named after its attribute. `content` is its documentation."""

    def __init__(self, content: str) -> None:
        self.content = content

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name.replace("_", "-")

    def __get__(self, keys: PoolKeys | FleetKeys, owner: type) -> str:
        return f"{{{keys.namespace}:{keys.pool}}}:{self._name}"


@dataclass(frozen=True)
class PoolKeys:
    """The keys of one pool."""

    namespace: str
    pool: str

    ticket = Key("Integer: the number of tickets issued. Workers, by INCRBY and return_tickets.lua. Never expires.")
    active = Key("Hash of backend id to the JSON of its active health. The leading checker, through write_active.lua.")
    ejected = Key("Hash of backend id to the JSON of its latest ejection. Workers, through two scripts.")
    failures = Key(
        "Hash of backend id to `opened base failures weight` of its window. Workers, through count_failures.lua."
    )
    attempts = Key(
        "Hash of backend id to the attempts of all workers so far; only differences mean anything. Never expires."
    )
    probe = Key("String: the worker that may probe an ejected backend. Expires with the lease.")
    workers = Key(
        "Hash of worker id to `at:loads`: its latest beat, and its requests in flight. Expires without beats."
    )
    reports = Key(
        "Hash of worker id to `at:report`: JSON of its identity and latest counts. Workers. Expires without beats."
    )
    slots = Key("Hash of worker id to its slots and its waiting requests. Workers, through hold_slots.lua.")
    overrides = Key("Hash of backend id to the JSON of its override. The admin API, through write_override.lua.")
    discovered = Key("JSON list of the discovered backends. The leading checker, through write_discovered.lua.")
    source = Key(
        "JSON of why the discovery source of the pool fails, and since when. The leading checker, through "
        "write_source.lua. Deleted when the source answers; expires without the checker."
    )
    secret = Key("String: the key that signs the cookies of sticky sessions. The first worker that needs it.")
    trial = Key("Key and channel: for a test whether the store accepts writes. Workers. Deleted by the same script.")
    version = Key("Microseconds of the server's clock at the latest change of a status. All writers of statuses.")
    heartbeat = Key(
        "`at:interval`, both in milliseconds: the time of the checker's latest heartbeat, and when the next is due."
    )
    leader = Key("String: the leading checker. Expires with the lease.")
    checkers = Key(
        "Hash of checker, leading or not, to the end of its place in milliseconds of the server's clock. Checkers, "
        "through hold_lease.lua. Expires without them."
    )
    epoch = Key("Microseconds of the server's clock at the latest election; other epochs may not write. Never expires.")
    changes = Key("Channel: a status of the pool changed; the message is the new version.")
    suspects = Key("Channel: a worker could not reach a backend; the message is the backend's id.")
    free_slots = Key("Channel: slots were released while requests wait, or are called for; the message is empty.")


@dataclass(frozen=True)
class FleetKeys:
    """The keys of the whole fleet, which have the form of those of a pool without a name."""

    namespace: str
    pool = ""

    reloads = Key("Channel: a worker has applied a new configuration, so checkers have to reload theirs.")
    changes = Key("Channel: the drained instances or the automatic certificates changed; the message is empty.")
    drained = Key(
        "Hash of drained instance to `until:operator`, in milliseconds of the server's clock. The admin API, through "
        "write_drain.lua, which deletes entries that are over."
    )
    drain_notes = Key(
        "Hash of drained instance to `since:reason`, in milliseconds of the server's clock. As `drained`."
    )
    certificates = Key(
        "Hash of `account`, `certificate:NAME`, `order:NAME` and `attempts:NAME` to a record of automatic "
        "certificates, encrypted with a key of the operator's. The leading checker, through write_certificates.lua. "
        "Never expires."
    )
    certificate_version = Key(
        "Microseconds of the server's clock at the latest change of `certificates`. Never expires."
    )
    wishes = Key(
        "Hash of name to milliseconds of the server's clock: names that clients ask for, and that wait for a "
        "certificate on demand. Workers, through wish_certificates.lua; the leading checker removes them. Expires."
    )
    leader = Key("String: the checker that leads the fleet's orders of certificates. Expires with the lease.")
    epoch = Key("As that of a pool, for `certificates`. Never expires.")
    checkers = Key("As those of a pool: the checkers that could order certificates. Expires without them.")
    bans = Key(
        "Hash of banned network to `until:by:since:details`, in milliseconds of the server's clock; `by` is `a` for a "
        "ban by a rule, else `m`, the details are JSON. The admin API and workers, through write_ban.lua, which "
        "deletes those that are over. Never expires."
    )
    ban_changes = Key("Sorted set of the networks of `bans` by the microseconds of their latest change. As `bans`.")
    events = Key(
        "Stream of the latest events of the fleet. The author of each change. Cut to some thousands; never expires."
    )


def bucket(namespace: str, limit: RateLimit, key: str) -> str:
    """String `at missing`: a bucket of a rate limit, by a digest of the limit's numbers and the request key. Workers,
    through take_token.lua. Expires when it is full again. Without a pool's tag, so buckets spread over a cluster.
    """
    identity = f"{limit.count}/{limit.period}/{limit.burst}/{key}".encode("utf-8", "surrogateescape")
    return f"{{{namespace}:rate:{limit.name}:{blake2b(identity, digest_size=16).hexdigest()}}}"


def offences(namespace: str, rule: str, client: str) -> str:
    """List of moments, in microseconds of the server's clock: the latest answers to a client that a rule of bans is
    about. Workers, through count_offence.lua. Expires after the rule's `within`.
    """
    digest = blake2b(client.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{{{namespace}:offences:{rule}:{digest}}}"


def configuration(namespace: str, version: str) -> str:
    """JSON of the settings of this version of the configuration, without secrets. Workers of instances that run by it.
    Expires without them.
    """
    return f"{{{namespace}:}}:configuration:{version}"


def contents(keys: type[PoolKeys | FleetKeys]) -> dict[str, str]:
    """What each key holds, by the name of its attribute."""
    return {name: value.content for name, value in vars(keys).items() if isinstance(value, Key)}


def as_markdown() -> str:
    """The table of `docs/redis-keys.md`: every key with its content."""
    rows = [
        f"| `{getattr(keys, name)}` | {content} |"
        for keys in (PoolKeys("namespace", "pool"), FleetKeys("namespace"))
        for name, content in contents(type(keys)).items()
    ]
    settings = " ".join((configuration.__doc__ or "").split())
    rows.append(f"| `{configuration('namespace', 'version')}` | {settings} |")
    counted = " ".join((offences.__doc__ or "").split())
    rows.append(f"| `{{namespace:offences:rule:digest}}` | {counted} |")
    description = " ".join((bucket.__doc__ or "").split())
    rows.append(f"| `{{namespace:rate:limit:digest}}` | {description} |")
    return "\n".join(["# Redis keys", "", _PREFACE, "", "| key | content |", "| --- | --- |", *rows, ""])
