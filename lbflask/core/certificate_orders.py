"""Certificates that an authority issues by itself (ACME, RFC 8555): the state of an order, and its next step.

An order is for one name, so that a name that fails leaves the others alone. Its state is a fact in the store: whoever
leads next goes on where it stands.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

from lbflask.core.certificate_renewal import NO_ATTEMPTS, OrderAttempts, Period, next_try, renewal_moment, resumption

#: Seconds after which an order is given up that has not ended: authorities forget theirs after about a week.
MAX_ORDER_AGE: Final = 3600.0


class ChallengeKind(StrEnum):
    """How the control of a name is shown."""

    HTTP = "http-01"  #: a text at a path of port 80 (RFC 8555 §8.3)
    TLS_ALPN = "tls-alpn-01"  #: a certificate in a handshake at port 443 (RFC 8737)
    DNS = "dns-01"  #: a TXT record (RFC 8555 §8.4)


class AcmeStatus(StrEnum):
    """The state of an order, of an authorization or of a challenge at the authority (RFC 8555 §7.1.6)."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is shown while an authority validates a name: `authorization` is the key authorization (RFC 8555 §8.1)."""

    kind: ChallengeKind
    name: str
    token: str
    authorization: str


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A TXT record, by its name without the dot at the end, and its text."""

    name: str
    value: str


def dns_record(challenge: Challenge) -> DnsRecord:
    """What shows a challenge of the kind dns-01 (RFC 8555 §8.4). A name and its wildcard have records of one name."""
    digest = sha256(challenge.authorization.encode()).digest()
    return DnsRecord(
        f"_acme-challenge.{challenge.name.removeprefix('*.')}", urlsafe_b64encode(digest).decode().rstrip("=")
    )


@dataclass(frozen=True, slots=True)
class PendingOrder:
    """An order that the authority at `directory` knows by its URL, for the key in PEM form. `began` is by the store's
    clock, `challenge` what is shown for it, None before its first.
    """

    def __repr__(self) -> str:
        return f"<PendingOrder {self.url}>"

    url: str
    key: str
    directory: str
    began: float
    challenge: Challenge | None = None


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate with its chain, and its key, both in PEM form. `directory` is that of the authority that issued it.

    `window` is when the authority suggests to renew it; None if it does not say.
    """

    chain: str
    key: str
    validity: Period
    directory: str
    window: Period | None = None

    def __repr__(self) -> str:
        return f"<IssuedCertificate by {self.directory} until {self.validity.ends:.0f}>"


@dataclass(frozen=True, slots=True)
class CertificateAccount:
    """The account at the authority with this directory, by the key in PEM form."""

    directory: str
    url: str
    key: str

    def __repr__(self) -> str:
        return f"<CertificateAccount {self.url}>"


@dataclass(frozen=True, slots=True)
class NameState:
    """What the fleet knows of a name."""

    certificate: IssuedCertificate | None = None
    order: PendingOrder | None = None
    attempts: OrderAttempts = NO_ATTEMPTS


@dataclass(frozen=True, slots=True)
class CertificateState:
    """What the fleet knows of its automatic certificates, by name."""

    account: CertificateAccount | None = None
    names: Mapping[str, NameState] = field(default_factory=dict)

    def challenges(self, kind: ChallengeKind) -> Iterable[Challenge]:
        """The challenges of this kind that are to be shown now."""
        for state in self.names.values():
            if state.order is not None and state.order.challenge is not None and state.order.challenge.kind is kind:
                yield state.order.challenge


NO_CERTIFICATES: Final = CertificateState()


def merged(before: CertificateState, after: CertificateState, now: float) -> CertificateState:
    """The state after it was read again: certificates that are not in it any more, as after the store was emptied, are
    kept while they are valid.
    """
    names = dict(after.names)
    for name, state in before.names.items():
        known = names.get(name, NameState())
        if known.certificate is None and state.certificate is not None and now < state.certificate.validity.ends:
            names[name] = NameState(state.certificate, known.order, known.attempts)
    return CertificateState(after.account, names)


def is_read(record: str, state: CertificateState) -> bool:
    """Whether the account, or the certificate of a name, is in the state that was read from records with this one. If
    not, the record is of another fleet, or was changed. Other records are not needed for long.
    """
    kind, _, name = record.partition(":")
    if kind == "account":
        return state.account is not None
    return kind != "certificate" or state.names.get(name, NameState()).certificate is not None


class Step(StrEnum):
    """What an order needs next."""

    SHOW = "show"  #: its challenge, and then ask the authority to validate
    WAIT = "wait"  #: the authority is at work
    FINALIZE = "finalize"  #: send the request for the certificate
    DOWNLOAD = "download"  #: fetch the certificate
    GIVE_UP = "give up"  #: the order cannot be completed


def next_step(order: AcmeStatus, authorization: AcmeStatus | None, challenge: AcmeStatus | None) -> Step:
    """The next step of an order with these states at the authority. `authorization` is that of its name, None where
    the order does not depend on it any more; `challenge` the one of the configured kind, None if it is not offered.
    """
    if order is AcmeStatus.VALID:
        return Step.DOWNLOAD
    if order is AcmeStatus.READY:
        return Step.FINALIZE
    if order is AcmeStatus.PROCESSING:
        return Step.WAIT
    if order is not AcmeStatus.PENDING:
        return Step.GIVE_UP
    if authorization is AcmeStatus.VALID:
        return Step.WAIT  # the order is about to be ready
    if authorization is not AcmeStatus.PENDING or challenge is None:
        return Step.GIVE_UP
    return {AcmeStatus.PENDING: Step.SHOW, AcmeStatus.PROCESSING: Step.WAIT, AcmeStatus.VALID: Step.WAIT}.get(
        challenge, Step.GIVE_UP
    )


def due(name: str, state: NameState, directory: str, now: float) -> float:
    """When the next order of the name at the authority with this directory begins, or goes on."""
    if state.order is not None and state.order.directory == directory and not is_stale(state.order, now):
        return resumption(state.attempts, now)
    certificate = state.certificate
    if certificate is None or certificate.directory != directory:
        return next_try(state.attempts, now)
    return max(next_try(state.attempts, now), renewal_moment(name, certificate.validity, certificate.window))


def is_stale(order: PendingOrder, now: float) -> bool:
    """Whether a pending order is too old to be completed, or of a time to come, as after the clock was set back."""
    return not now - MAX_ORDER_AGE <= order.began <= now + MAX_ORDER_AGE


def is_name(text: str) -> bool:
    """Whether it is a name that a certificate can be issued for: lower case, at least two labels (RFC 1035 §2.3.1),
    the first of which may be `*`. At most 253 characters. Addresses are none.
    """
    labels = text.removeprefix("*.").split(".")
    if len(text) > 253 or len(labels) < 2 or labels[-1].isdigit():
        return False
    return all(_is_label(label) for label in labels)


def _is_label(label: str) -> bool:
    usable = label.replace("-", "").replace("_", "")
    if not 1 <= len(label) <= 63 or label[0] == "-" or label[-1] == "-":
        return False
    return usable.isascii() and usable.isalnum() and label == label.lower()
