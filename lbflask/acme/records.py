"""The records of automatic certificates: JSON, sealed by the vault. Values are validated as they are read: a record
that is invalid, or sealed with another key, counts as absent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from lbflask.acme.vault import Unreadable, Vault
from lbflask.core.certificate_orders import (
    CertificateAccount,
    CertificateState,
    Challenge,
    ChallengeKind,
    IssuedCertificate,
    NameState,
    PendingOrder,
    is_name,
)
from lbflask.core.certificate_renewal import MAX_TRIES_PER_HOUR, NO_ATTEMPTS, OrderAttempts, Period
from lbflask.core.printable import printable

#: Names of records: that of the account, and what is before the name of each other one.
ACCOUNT, CERTIFICATE, ORDER, ATTEMPTS = "account", "certificate:", "order:", "attempts:"
#: Limits of texts in a record, in characters: of a chain or key in PEM form, of a URL or token, and of a reason.
MAX_PEM, MAX_URL, MAX_REASON = 65_536, 2_048, 500
#: The latest valid time, in seconds since the epoch: the end of the year 9999.
_MAX_TIME = 253_402_300_799.0

Value = TypeVar("Value")
log = logging.getLogger("lbflask")


class SealedRecords:
    """Reads and writes records with a vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._logged: set[str] = set()

    def __repr__(self) -> str:
        return f"<SealedRecords by {self._vault!r}>"

    def account(self, account: CertificateAccount) -> bytes:
        """The record ACCOUNT."""
        return self._sealed(ACCOUNT, {"directory": account.directory, "url": account.url, "key": account.key})

    def certificate(self, name: str, certificate: IssuedCertificate) -> bytes:
        """The record CERTIFICATE of the name."""
        values = {
            "chain": certificate.chain,
            "key": certificate.key,
            "validity": _period_values(certificate.validity),
            "directory": certificate.directory,
            "window": None if certificate.window is None else _period_values(certificate.window),
        }
        return self._sealed(CERTIFICATE + name, values)

    def order(self, name: str, order: PendingOrder) -> bytes:
        """The record ORDER of the name."""
        challenge = order.challenge
        values = {
            "url": order.url,
            "key": order.key,
            "directory": order.directory,
            "began": order.began,
            "challenge": None
            if challenge is None
            else [challenge.kind.value, challenge.token, challenge.authorization],
        }
        return self._sealed(ORDER + name, values)

    def attempts(self, name: str, attempts: OrderAttempts) -> bytes:
        """The record ATTEMPTS of the name."""
        values = {
            "tries": attempts.tries,
            "failures": attempts.failures,
            "reason": attempts.reason[:MAX_REASON],
            "resumes": attempts.resumes,
        }
        return self._sealed(ATTEMPTS + name, values)

    def state(self, records: Mapping[str, bytes]) -> CertificateState:
        """What all records say together. The first unreadable one of each name is logged."""
        account, names = None, dict[str, NameState]()
        for field, record in records.items():
            kind, _, name = field.rpartition(":")
            if field == ACCOUNT:
                account = self._parsed(field, record, _account)
            elif is_name(name):
                state = names.get(name, NameState())
                names[name] = self._with_record(state, field, record, f"{kind}:")
        return CertificateState(account, names)

    def _with_record(self, state: NameState, field: str, record: bytes, kind: str) -> NameState:
        name = field.removeprefix(kind)
        if kind == CERTIFICATE:
            return NameState(self._parsed(field, record, _certificate), state.order, state.attempts)
        if kind == ORDER:
            order = self._parsed(field, record, lambda values: _order(name, values))
            return NameState(state.certificate, order, state.attempts)
        if kind == ATTEMPTS:
            attempts = self._parsed(field, record, _attempts) or NO_ATTEMPTS
            return NameState(state.certificate, state.order, attempts)
        return state

    def _sealed(self, name: str, values: dict[str, Any]) -> bytes:
        return self._vault.seal(name, json.dumps(values, separators=(",", ":")).encode())

    def _parsed(self, name: str, record: bytes, parse: Any) -> Any:
        try:
            return parse(json.loads(self._vault.open(name, record)))
        except Unreadable as error:
            reason = str(error)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            reason = "its content is invalid"
        if name not in self._logged:
            self._logged.add(name)
            log.warning("automatic certificates: the record %.200r is ignored: %s", name, reason)
        return None


def _account(values: Any) -> CertificateAccount:
    return CertificateAccount(_text(values["directory"]), _text(values["url"]), _text(values["key"], MAX_PEM))


def _certificate(values: Any) -> IssuedCertificate:
    window = values.get("window")
    return IssuedCertificate(
        _text(values["chain"], MAX_PEM), _text(values["key"], MAX_PEM), _period(values["validity"]),
        _text(values["directory"]), None if window is None else _period(window),
    )  # fmt: skip


def _order(name: str, values: Any) -> PendingOrder:
    challenge = None
    if values["challenge"] is not None:
        kind, token, authorization = values["challenge"]
        challenge = Challenge(ChallengeKind(kind), name, _text(token), _text(authorization))
    return PendingOrder(
        _text(values["url"]),
        _text(values["key"], MAX_PEM),
        _text(values["directory"]),
        _time(values["began"]),
        challenge,
    )


def _attempts(values: Any) -> OrderAttempts:
    tries, failures = tuple(_time(begun) for begun in values["tries"][:MAX_TRIES_PER_HOUR]), values["failures"]
    if type(failures) is not int or failures < 0:
        raise ValueError("not a number of failures")
    return OrderAttempts(tries, failures, printable(_text(values["reason"], MAX_REASON)), _time(values["resumes"]))


def _text(value: object, most: int = MAX_URL) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("not a text within its bounds")
    return value


def _time(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= _MAX_TIME:  # type: ignore[operator]
        raise ValueError("not a time")
    return float(value)  # type: ignore[arg-type]


def _period(values: Any) -> Period:
    begins, ends = map(_time, values)
    return Period(begins, ends)


def _period_values(period: Period) -> list[float]:
    return [period.begins, period.ends]
