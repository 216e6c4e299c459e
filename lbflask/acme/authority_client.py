"""The client of a certificate authority (RFC 8555): one exchange for each method. It blocks, and is for one thread at a
time.
"""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from acme import challenges, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from josepy.b64 import b64encode
from josepy.errors import Error as JoseError
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from lbflask.acme import key_material
from lbflask.core.certificate_orders import AcmeStatus, CertificateAccount, ChallengeKind
from lbflask.core.certificate_renewal import Period
from lbflask.core.printable import printable

#: Seconds without a byte in an exchange with the authority, and bytes of a response.
TIMEOUT, MAX_BYTES = 20, 1 << 20
#: Seconds for the body of a response, and bytes of it that are read at once: a read ends when it has all of them.
LONGEST_BODY, _PART = 30.0, 16
#: Nonces for one request. An authority may refuse any (RFC 8555 §6.5); `acme` tries two for each `post`.
MAX_NONCES = 16
#: Characters of an authority's reason that are kept.
MAX_REASON = 300
_KINDS = frozenset(kind.value for kind in ChallengeKind)
#: What `replaces` of an order may fail by: a certificate that was replaced, or that the authority does not know as one
#: of this account (RFC 9773 §5).
_NOT_REPLACEABLE = frozenset({"alreadyReplaced", "malformed", "unauthorized"})
#: A response to a challenge of any kind is an empty object (RFC 8555 §8.3); the key authorization is not sent.
_READY = challenges.HTTP01Response(key_authorization="-")

Answer = TypeVar("Answer")

# It writes each request and response at this level, with keys in them.
logging.getLogger("acme").setLevel(logging.INFO)


class _ReplacingOrder(messages.NewOrder):
    """With the certificate that it replaces (RFC 9773 §5), a field that `acme` does not have."""

    replaces: str = field("replaces", omitempty=True)


class _Network(ClientNetwork):
    """Requests that are sent again with another nonce when the authority refuses theirs."""

    def post(self, *args: Any, **kwargs: Any) -> Any:
        for _ in range(MAX_NONCES // 2 - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class AuthorityError(Exception):
    """The authority has refused, or could not be asked. `retry_after` is its wish in seconds, None without one; `code`
    the last part of the type of its problem (RFC 8555 §6.7).
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, code: str = "") -> None:
        super().__init__(printable(reason[:MAX_REASON]))
        self.retry_after = retry_after
        self.code = code


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """The authority's directory, the mail address for its notices, and a file with the roots to trust. The latter two
    may be empty.
    """

    directory: str
    email: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as the authority has it. URLs are empty while there are none."""

    url: str
    status: AcmeStatus
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChallengeView:
    """A challenge that an authority offers. `reason` is why it failed."""

    url: str
    token: str
    status: AcmeStatus
    reason: str


@dataclass(frozen=True, slots=True)
class AuthorizationView:
    """The authorization of a name, with its challenges of known kinds."""

    status: AcmeStatus
    challenges: Mapping[ChallengeKind, ChallengeView]


class AuthorityClient:
    """Speaks for one account, whose key is in PEM form; its URL is empty until `register`.

    Every method may raise AuthorityError.
    """

    def __init__(self, settings: AuthoritySettings, account: CertificateAccount) -> None:
        self._settings = settings
        self._key = JWKEC(key=key_material.loaded_key(account.key))
        self._net = self._network(account.url)
        self._client: ClientV2 | None = None
        self._retry_after: float | None = None

    def __repr__(self) -> str:
        return f"<AuthorityClient {self._settings.directory}>"

    def close(self) -> None:
        """Close the connections."""
        self._net.session.close()

    def register(self) -> str:
        """The URL of the account, which is created unless the authority has one with this key (RFC 8555 §7.3.1).

        The terms of the authority are agreed to: the operator has named it in the configuration.
        """

        def ask(client: ClientV2) -> str:
            contact = self._settings.email or None
            body = messages.NewRegistration.from_data(email=contact, terms_of_service_agreed=True)
            try:
                return str(client.new_account(body).uri)
            except errors.ConflictError as known:
                self._net = self._network(str(known.location))
                self._client = ClientV2(client.directory, self._net)
                return str(known.location)

        return self._asked(ask)

    def new_order(self, name: str, replaced: str = "") -> OrderView:
        """Begin an order for the name. `replaced` is the chain that it renews: authorities that suggest renewals exempt
        such orders from limits (RFC 9773 §5); one that does not accept it gets an order without.
        """
        identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name)
        usual = messages.NewOrder(identifiers=[identifier])

        def ask(client: ClientV2, order: messages.NewOrder) -> OrderView:
            response = self._post(client, client.directory["newOrder"], order)
            return _order_view(str(response.headers["Location"]), response.json())

        def ask_for_renewal(client: ClientV2) -> OrderView:
            if not replaced or _renewal_base(client) is None:
                return ask(client, usual)
            try:
                return ask(client, _ReplacingOrder(identifiers=[identifier], replaces=_renewal_id(_leaf(replaced))))
            except errors.ConflictError:  # `acme` reads no problem with a status of 409
                return ask(client, usual)
            except messages.Error as error:
                if error.code not in _NOT_REPLACEABLE:
                    raise
                return ask(client, usual)

        return self._asked(ask_for_renewal)

    def order(self, url: str) -> OrderView:
        """The order now."""
        return self._asked(lambda client: _order_view(url, self._post(client, url, None).json()))

    def authorization(self, url: str) -> AuthorizationView:
        """The authorization now."""
        return self._asked(lambda client: _authorization_view(self._post(client, url, None).json()))

    def key_authorization(self, token: str) -> str:
        """What proves that the account asked for the challenge with this token (RFC 8555 §8.1)."""
        return f"{token}.{b64encode(self._key.thumbprint()).decode()}"

    def validate(self, challenge: ChallengeView) -> None:
        """Ask the authority to validate the challenge, which is shown."""
        self._asked(lambda client: self._post(client, challenge.url, _READY))

    def finalize(self, order: OrderView, request: bytes) -> None:
        """Send the request for the certificate, in PEM form."""
        body = messages.CertificateRequest(csr=x509.load_pem_x509_csr(request))
        self._asked(lambda client: self._post(client, order.finalize, body))

    def download(self, url: str) -> str:
        """The certificate with its chain, in PEM form."""
        return self._asked(lambda client: str(self._post(client, url, None).text))

    def renewal_window(self, chain: str) -> tuple[Period | None, float | None]:
        """When the authority suggests to renew the certificate, None if it does not (RFC 9773 §4), and its Retry-After.

        `acme` draws a moment in the window; here it follows from the name, so that each leader has the same.
        """

        def ask(client: ClientV2) -> tuple[Period | None, float | None]:
            base = _renewal_base(client)
            if base is None:
                return None, None
            window = self._net.get(f"{base}/{_renewal_id(_leaf(chain))}").json()["suggestedWindow"]
            return Period(_moment(window["start"]), _moment(window["end"])), self._retry_after

        return self._asked(ask)

    def _network(self, account_url: str) -> _Network:
        """Connections that sign for the account with this URL; empty for one that is not registered."""
        account = messages.RegistrationResource(uri=account_url, body=messages.Registration()) if account_url else None
        network = _Network(
            self._key,
            account,
            alg=ES256,
            verify_ssl=cast("bool", self._settings.ca_file or True),  # `requests` takes the name of a file as well
            user_agent="lbflask",
            timeout=TIMEOUT,
        )
        network.session.hooks["response"].append(self._received)
        return network

    def _post(self, client: ClientV2, url: str, body: Any) -> Any:
        """A signed request; without a body it only reads (RFC 8555 §6.3)."""
        return self._net.post(url, body, new_nonce_url=client.directory["newNonce"])

    def _asked(self, ask: Callable[[ClientV2], Answer]) -> Answer:
        self._retry_after = None
        try:
            if self._client is None:
                directory = ClientV2.get_directory(self._settings.directory, self._net)
                self._client = ClientV2(directory, self._net)
            return ask(self._client)
        except messages.Error as error:
            detail = str(error.detail or error.description or error.typ)
            raise AuthorityError(detail, retry_after=self._retry_after, code=str(error.code or "")) from None
        except errors.Error as error:
            raise AuthorityError(_text(error), retry_after=self._retry_after) from None
        except OSError as error:  # those of `requests` are
            raise AuthorityError(f"the authority is out of reach: {_text(error)}") from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, JoseError) as error:
            raise AuthorityError(f"the authority's response cannot be used: {_text(error)}") from None

    def _received(self, response: Any, **_: Any) -> None:
        """Note Retry-After, and read the body within MAX_BYTES and LONGEST_BODY: `requests` would read any number of
        bytes, each of which may take TIMEOUT.
        """
        self._retry_after = _seconds(response.headers.get("Retry-After"))
        body, latest = b"", time.monotonic() + LONGEST_BODY  # noqa: TID251 - an exchange with a peer
        for part in response.iter_content(_PART):
            body += part
            if len(body) > MAX_BYTES:
                response.close()
                raise OSError(f"a response has more than {MAX_BYTES} bytes")
            if time.monotonic() > latest:  # noqa: TID251
                response.close()
                raise OSError(f"a response takes more than {LONGEST_BODY:g} s")
        response._content = body


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After field (RFC 9110 §10.2.3), if there is a valid one."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
        return max(0.0, (moment - datetime.now(moment.tzinfo)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _moment(text: object) -> float:
    """The seconds since the epoch of a time by RFC 3339."""
    moment = datetime.fromisoformat(str(text)[:40])
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no offset")
    return moment.timestamp()


def _renewal_base(client: ClientV2) -> str | None:
    """Where the authority has renewal windows; None if it has none."""
    try:
        return str(client.directory["renewalInfo"])
    except KeyError:
        return None


def _leaf(chain: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain.encode())[0]


def _renewal_id(certificate: x509.Certificate) -> str:
    """The identifier of a certificate for its renewal window (RFC 9773 §4.1)."""
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1)  # with room for the sign, as in DER
    return ".".join(b64encode(part).decode() for part in (issuer or b"", octets))


def _order_view(url: str, values: Any) -> OrderView:
    return OrderView(
        url, AcmeStatus(values["status"]), tuple(map(str, values["authorizations"][:10])), str(values["finalize"]),
        str(values.get("certificate") or ""), _reason(values.get("error")),
    )  # fmt: skip


def _authorization_view(values: Any) -> AuthorizationView:
    offered = {}
    for one in values["challenges"][:20]:
        if one.get("type") in _KINDS:
            view = ChallengeView(str(one["url"]), _token(one), AcmeStatus(one["status"]), _reason(one.get("error")))
            offered[ChallengeKind(one["type"])] = view
    return AuthorizationView(AcmeStatus(values["status"]), offered)


def _token(values: Any) -> str:
    """The token of a challenge, which becomes a part of a path (RFC 8555 §8.1: base64url)."""
    token = str(values["token"])
    if not token.replace("-", "").replace("_", "").isalnum() or not token.isascii() or len(token) > 256:
        raise ValueError("a token is not base64url")
    return token


def _reason(problem: Any) -> str:
    """The detail of a problem document (RFC 9457), empty without one."""
    return printable(str(problem.get("detail") or problem.get("type") or "")[:MAX_REASON]) if problem else ""
