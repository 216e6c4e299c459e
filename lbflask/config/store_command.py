"""The command line of Redis for the store of the configuration, as an operator runs it."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from lbflask.config.paths import files_of_store, socket_path

#: What stands for the URL of a store whose primary is known to its sentinels only.
UNKNOWN = "redis-cli -u URL"

_OPTIONS = {"ssl_ca_certs": "--cacert", "ssl_certfile": "--cert", "ssl_keyfile": "--key"}


def store_command(url: str) -> str:
    """`redis-cli` with the address, the user and the files of TLS in the URL, and without its password, which redis-cli
    reads from the variable REDISCLI_AUTH.
    """
    path = socket_path(url.partition("?")[0])
    if path is not None:
        return f"redis-cli -s {shlex.quote(path.rpartition('@')[2])}"
    scheme, _, rest = url.partition("://")
    if scheme.endswith("+sentinel"):
        return UNKNOWN
    is_cluster = scheme.endswith("+cluster")
    authority = rest.partition("?")[0].rpartition("@")[2].partition(",")[0].rstrip("/")
    parts = ["redis-cli", *(["-c"] if is_cluster else []), "-u", f"{scheme.partition('+')[0]}://{authority}"]
    user = None if is_cluster else urlsplit(url).username
    if user:
        parts += ["--user", user]
    for name, file in files_of_store(url).items():
        parts += [_OPTIONS[name], file]
    return shlex.join(parts)
