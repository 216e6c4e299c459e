"""The check of users and passwords (RFC 7617)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import NotAdmitted
from lbflask.core.http.credentials import basic_credentials, challenge, field_text
from lbflask.core.http.granted_fields import GrantedFields
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.proxy.admitted_request import AdmittedRequest
from lbflask.proxy.auth_counts import AuthCounts, AuthOutcome
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.password_checks import PasswordChecks, Verdict

_KIND: Final = "basic"
#: Seconds after which a client may ask again while too many passwords are being verified.
_RETRY_AFTER: Final = "2"


@dataclass(frozen=True, slots=True)
class BasicAuthSettings:
    """`user_field` has the user's name for backends; empty for none."""

    realm: str
    user_field: str
    keep_credentials: bool


class BasicAuth:
    """Admits requests with a user and the user's password. Threads and greenlets may share it."""

    def __init__(self, settings: BasicAuthSettings, passwords: PasswordChecks, counts: AuthCounts) -> None:
        self._field = settings.user_field
        self._passwords = passwords
        self._counts = counts
        names = [settings.user_field] if settings.user_field else []
        self.granted = GrantedFields(names, () if settings.keep_credentials else ("authorization",))
        challenges = challenge("Basic", {"realm": settings.realm, "charset": "UTF-8"})
        self._challenge = [("WWW-Authenticate", challenges)]

    def __repr__(self) -> str:
        return f"BasicAuth({self._passwords!r})"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:  # noqa: ARG002
        """As of AdmissionCheck."""
        given = basic_credentials(request.fields)
        if given is None:
            self._counts.add(_KIND, AuthOutcome.REFUSED)
            raise NotAdmitted(401, "a user and a password are needed", AnswerCause.AUTH, self._challenge)
        verdict = self._passwords.verdict(given)
        if verdict is Verdict.BUSY:
            self._counts.add(_KIND, AuthOutcome.FAILED)
            retry = [("Retry-After", _RETRY_AFTER)]
            raise NotAdmitted(503, "too many passwords are being verified", AnswerCause.AUTH_UNAVAILABLE, retry)
        if verdict is Verdict.INVALID:
            self._counts.add(_KIND, AuthOutcome.REFUSED)
            reason = "the user or the password is wrong"
            raise NotAdmitted(401, reason, AnswerCause.AUTH, self._challenge, f"{reason}: {field_text(given.user)}")
        self._counts.add(_KIND, AuthOutcome.CACHED if verdict is Verdict.KNOWN else AuthOutcome.ALLOWED)
        user = field_text(given.user)
        fields = self.granted.of(request.fields, [(self._field, user)] if self._field else [])
        return AdmittedRequest(request, fields, user)
