"""Where automatic certificates are kept, and how listeners present them. gunicorn's master may import this module.

The libraries are an optional extra, loaded only where the configuration has `tls.acme.domains`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from lbflask.config.certificate_pair import CertificatePair, UnusablePair
from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.config.state_directory import state_directory
from lbflask.core.certificate_demand import demanded_names
from lbflask.core.certificate_orders import CertificateState, ChallengeKind

if TYPE_CHECKING:
    from lbflask.acme.last_good_copy import LastGoodCopy
    from lbflask.acme.records import SealedRecords

#: The setting of a certificate in views of operators, before a colon and its name.
SOURCE = "tls.acme"


def storage_directory(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the copy of this machine is: the configured directory, else one of the fleet below the state directory."""
    if config.tls.acme.storage:
        return Path(config.tls.acme.storage)
    return state_directory(environ) / "acme" / quote(config.namespace, safe="")


def check_library() -> None:
    """Raises ConfigError if the extra is not installed."""
    missing = [name for name in ("acme", "cryptography", "josepy") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"tls.acme.domains: automatic certificates need {' and '.join(missing)}: pip install 'lbflask[acme]'"
        )


def storage_for(config: Config) -> tuple[SealedRecords, LastGoodCopy]:
    """How records are sealed, and where their copy is. Raises ConfigError."""
    check_library()
    from lbflask.acme.last_good_copy import LastGoodCopy, generated_key  # noqa: PLC0415
    from lbflask.acme.records import SealedRecords  # noqa: PLC0415
    from lbflask.acme.vault import Vault  # noqa: PLC0415

    directory = storage_directory(config)
    try:
        keys = config.tls.acme.every_key() or (generated_key(directory),)
    except OSError as error:
        raise ConfigError(
            f"tls.acme.storage: {str(directory)!r} cannot be used for the key and the copy: {error.strerror}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"tls.acme.key_file: {error}") from None
    return SealedRecords(Vault(keys, config.namespace)), LastGoodCopy(directory)


def issued_pairs(state: CertificateState, config: Config) -> list[CertificatePair]:
    """The pairs of the names of the configuration, and then of those on demand, for listeners. While there is none, and
    none of files, a self-signed one, so that a listener can start. One that cannot be used is left out.
    """
    acme, found = config.tls.acme, []
    on_demand = () if acme.demand is None else demanded_names(state, acme.demand)
    for name in (*acme.domains, *on_demand):
        known = state.names.get(name)
        if known is not None and known.certificate is not None:
            try:
                found.append(_pair(name, known.certificate.chain, known.certificate.key))
            except UnusablePair:
                continue  # the leader checks what it gets; this is the copy of another time
    return found if found or config.tls.pairs() else [_fallback(acme.domains)]


def challenge_pairs(state: CertificateState) -> dict[str, CertificatePair]:
    """The certificates that answer the challenges of the kind tls-alpn-01 now, by name."""
    return {
        challenge.name: _validation_pair(challenge.name, challenge.authorization)
        for challenge in state.challenges(ChallengeKind.TLS_ALPN)
    }


@lru_cache(maxsize=512)
def _pair(name: str, chain: str, key: str) -> CertificatePair:
    """Raises UnusablePair."""
    return CertificatePair.from_pem(f"{SOURCE}:{name}", chain.encode(), key.encode())


@lru_cache(maxsize=2)
def _fallback(names: tuple[str, ...]) -> CertificatePair:
    from lbflask.acme import key_material  # noqa: PLC0415 - an optional extra

    chain, key = key_material.self_signed(names)
    return CertificatePair.from_pem(f"{SOURCE}:self-signed", chain.encode(), key.encode())


@lru_cache(maxsize=64)
def _validation_pair(name: str, authorization: str) -> CertificatePair:
    from lbflask.acme import key_material  # noqa: PLC0415 - an optional extra

    chain, key = key_material.validation_certificate(name, authorization)
    return CertificatePair.from_pem(f"{SOURCE}:{name}", chain.encode(), key.encode())
