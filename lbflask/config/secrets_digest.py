"""A digest by which instances compare their secrets without revealing them.

The configuration's version is public: it is in metrics, in the API and in the store. So guesses must be expensive. The
digest is of all secrets together, which have to be guessed at once, and it is slow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from lbflask.config.redaction import Secret
from lbflask.config.sticky import StickyConfig

#: The cost of scrypt (RFC 7914): 16 MiB and tens of milliseconds for each guess.
_COST = {"n": 1 << 14, "r": 8, "p": 1}


def secrets_digest(settings: BaseModel, namespace: str) -> str:
    """32 hexadecimal digits for all secrets of the settings; empty if there are none.

    Secrets of files that are read again without a reload, as that of the admin's tokens, are left out.
    """
    secrets = list(_secrets_in(settings, ""))
    return _slow_digest(json.dumps(secrets), namespace) if secrets else ""


@lru_cache(maxsize=2)  # of the configuration in effect and of a new one; the version is part of each scrape
def _slow_digest(secrets: str, namespace: str) -> str:
    salt = b"lbflask configuration " + namespace.encode()
    return hashlib.scrypt(secrets.encode("utf-8", "surrogatepass"), salt=salt, dklen=16, **_COST).hex()


def _secrets_in(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Each secret with its key; a URL or a header field counts if something in it is masked."""
    if isinstance(value, Secret):
        secret = value.reveal()
        if str(value) != secret:
            yield key, secret
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name), f"{key}.{name}")
        if isinstance(value, StickyConfig):
            yield from ((f"{key}.secret_file", secret) for secret in value.secrets_of_file)
    elif isinstance(value, Mapping):
        for name, item in sorted(value.items()):
            yield from _secrets_in(item, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets_in(item, key)
