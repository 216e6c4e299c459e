"""The check of requests by an authentication service, which is asked about each of them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lbflask.core.answers import AnswerCause
from lbflask.core.expiring_cache import ExpiringCache
from lbflask.core.faults import Fault, NotAdmitted, RefusalResponse
from lbflask.core.http.forward_auth import (
    ServiceVerdict,
    cache_seconds,
    is_of_service,
    refusal_fields,
    service_fields,
    service_verdict,
    user_of,
)
from lbflask.core.http.granted_fields import GrantedFields
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.core.http.types import Fields
from lbflask.proxy.admitted_request import AdmittedRequest, AuthGrant
from lbflask.proxy.auth_counts import AuthCounts, AuthOutcome
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.service_client import ServiceResponse

_KIND: Final = "forward"
#: Bytes of a body of the service.
MAX_BODY: Final = 1 << 20
#: Verdicts that a worker remembers.
MAX_CACHED: Final = 10_000
_RETRY_AFTER: Final = [("Retry-After", "2")]


@dataclass(frozen=True, slots=True)
class ForwardAuthSettings:
    """`service` names the service for operators. `fields` are the names of those of its responses that backends get.
    `cache` is the most seconds for which a request that is alike is not asked about again; `by_credentials`: alike are
    all with the same cookie and Authorization.
    """

    service: str
    fields: Sequence[str]
    cache: float
    by_credentials: bool


class AskedService(Protocol):
    """The service, as ServiceClient has it."""

    def get(self, fields: Fields, most: int, /) -> ServiceResponse:
        """Its response. Raises Fault."""
        ...


class ForwardAuth:
    """Admits requests that the service allows. Threads and greenlets may share it."""

    def __init__(
        self, settings: ForwardAuthSettings, service: AskedService, counts: AuthCounts, clock: Callable[[], float]
    ) -> None:
        self._service = service
        self.name = settings.service
        self._counts = counts
        self._clock = clock
        self._lasts = settings.cache
        self._by_credentials = settings.by_credentials
        self._grants: ExpiringCache[AuthGrant] = ExpiringCache(MAX_CACHED)
        self._key = secrets.token_bytes(32)
        # The same in all workers, which the request may come back to, and another one for each service.
        self._mark = f"lbflask-auth-{hashlib.blake2b(settings.service.encode(), digest_size=8).hexdigest()}"
        self.granted = GrantedFields(settings.fields)
        self.trouble = ""  #: why the latest request to the service was in vain; empty after one that was not

    def __repr__(self) -> str:
        return f"ForwardAuth({self._service!r})"

    def admit(self, request: ClientRequest, origin: RequestOrigin) -> ClientRequest:
        """As of AdmissionCheck."""
        if is_of_service(request.fields, self._mark):
            raise self._failure('has its URL behind itself: give the path of the service a route with auth = "none"')
        asked = service_fields(request.fields, request.method, request.target.text, origin, self._mark)
        key = self._cache_key(asked) if self._lasts else b""
        if key and (known := self._grants.find(key, self._clock())) is not None:
            self._counts.add(_KIND, AuthOutcome.CACHED)
            return self._admitted(request, known, [])
        try:
            response = self._service.get(asked, MAX_BODY)
        except Fault as fault:
            raise self._unavailable(fault.reason) from None
        verdict = service_verdict(response.status, response.fields)
        if verdict is ServiceVerdict.UNUSABLE:
            raise self._unavailable(f"responded {response.status}")
        self.trouble = ""
        if verdict is ServiceVerdict.REFUSED:
            self._counts.add(_KIND, AuthOutcome.REFUSED)
            reason = f"the authentication service responded {response.status}"
            fields = refusal_fields(response.fields)
            raise RefusalResponse(response.status, reason, AnswerCause.AUTH, fields, response.body)
        self._counts.add(_KIND, AuthOutcome.ALLOWED)
        fields = [field for field in response.fields if field[0].lower() in self.granted.kept]
        grant = AuthGrant(fields, user_of(fields))
        if key and (seconds := cache_seconds(response.fields, self._lasts)) > 0:
            self._grants.put(key, grant, self._clock() + seconds)
        return self._admitted(request, grant, [pair for pair in response.fields if pair[0].lower() == "set-cookie"])

    def _admitted(self, request: ClientRequest, grant: AuthGrant, cookies: Fields) -> ClientRequest:
        return AdmittedRequest(request, self.granted.of(request.fields, grant.fields), grant.user, cookies)

    def _cache_key(self, asked: Fields) -> bytes:
        """Empty where nothing of the request distinguishes it from others."""
        if self._by_credentials:
            asked = [field for field in asked if field[0].lower() in ("authorization", "cookie")]
        if not asked:
            return b""
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for name, value in asked:
            digest.update(f"{name.lower()}\0{value}\0".encode("latin-1", "replace"))
        return digest.digest()

    def _unavailable(self, reason: str) -> NotAdmitted:
        """The service is in trouble."""
        self.trouble = reason
        return self._failure(reason)

    def _failure(self, reason: str) -> NotAdmitted:
        """No response that decides never opens a route."""
        self._counts.add(_KIND, AuthOutcome.FAILED)
        log_reason = f"the authentication service {self.name} {reason}"
        shown = "the request cannot be authenticated now"
        return NotAdmitted(503, shown, AnswerCause.AUTH_UNAVAILABLE, _RETRY_AFTER, log_reason)
