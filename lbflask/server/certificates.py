"""The certificates of the TLS listeners: chosen by name, and exchanged without new workers.

Session tickets are encrypted with keys that OpenSSL draws at random for each context and keeps in it (RFC 5077, RFC
8446 §4.6.1). A client that returns reaches any worker, so all need the same keys, and therefore the same context: the
front one. gunicorn's master makes it, its workers inherit it, and it lives as long as they do. OpenSSL takes the keys,
the versions and the options of a connection from the front context, even when the connection gets another context for
its name: so renewed certificates go into the front context, and those of other names into contexts behind it.
"""

from __future__ import annotations

import logging
import ssl
from _ssl import _SSLContext
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from lbflask.background import BackgroundTask
from lbflask.config.certificate_pair import CertificatePair, UnusablePair
from lbflask.config.certificates import CertificateFile, day
from lbflask.config.tls import PairFiles, TLSConfig
from lbflask.core import server_names
from lbflask.server.worker.tls_stream import CHALLENGE_PROTOCOL

#: Seconds between two reads of the files.
INTERVAL = 1.0

log = logging.getLogger("gunicorn.error")

#: How a ClientHello has the protocol of a challenge: after its length.
_OFFERED = bytes([len(CHALLENGE_PROTOCOL)]) + CHALLENGE_PROTOCOL.encode()

#: Makes a context from a function that makes it by our settings: what the hook `ssl_context` of a gunicorn file does.
Adjust = Callable[[Callable[[], ssl.SSLContext]], ssl.SSLContext]
#: What tells one version of a file from another: device, inode, size and time of the change; None for a missing one.
Signature = tuple[int, int, int, int] | None


@dataclass(slots=True)
class WatchedPair:
    """A pair that is in use, and what is known of its files: their signatures, and why they cannot be used now."""

    files: PairFiles
    pair: CertificatePair
    signatures: tuple[Signature, ...]
    unusable: str = ""

    @classmethod
    def load(cls, files: PairFiles) -> WatchedPair:
        """Raises UnusablePair."""
        signatures = _signatures(files)  # before the content: what changes meanwhile is loaded later
        return cls(files, CertificatePair.from_files(files), signatures)

    def refresh(self) -> bool:
        """Load the files if they have changed, and note why they cannot be used. Returns whether they have changed."""
        signatures = _signatures(self.files)
        if signatures == self.signatures:
            return False
        self.signatures, self.unusable = signatures, ""
        setting, path = self.files.setting, self.files.certificate
        try:
            pair = CertificatePair.from_files(self.files)
        except UnusablePair as error:
            self.unusable = str(error)
            log.error("%s = %r: has changed, and the certificate from before stays in use: %s", setting, path, error)
            return True
        if pair != self.pair:
            self.pair = pair
            log.info("%s = %r: loaded, valid until %s", setting, path, day(pair.expires))
        return True


class Certificates:
    """The certificates of one configuration, in one process. They may be refreshed while connections use them."""

    def __init__(self, tls: TLSConfig, adjust: Adjust, added: Sequence[CertificatePair] = ()) -> None:
        """Load all; `added` are as of `set_pairs`. Raises UnusablePair."""
        self._tls = tls
        self._adjust = adjust
        self._watched = [WatchedPair.load(files) for files in tls.pairs()]
        self._contexts: dict[tuple[CertificatePair, ...], ssl.SSLContext] = {}
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._added = tuple(added)
        self._has_others = False  # than when `refresh` was last called
        self._on_unknown: Callable[[str], object] | None = None
        self._challenges: dict[bytes, ssl.SSLContext] = {}  # by the name as a ClientHello has it
        self._in_front = _default(self._pairs())
        #: The context of new connections.
        self.front = self._default = self._context(self._in_front)
        # That of the base class: gevent's own setter wraps the callback, which then fails without a socket.
        vars(_SSLContext)["sni_callback"].__set__(self.front, self._choose)
        self._arrange()

    def __repr__(self) -> str:
        return f"<Certificates {len(self._watched)} for {len(self._by_name)} names>"

    def files(self) -> tuple[CertificateFile, ...]:
        """The certificates in use, by setting or, of added ones, by source."""
        watched = (
            CertificateFile(one.files.setting, one.files.certificate, one.pair.expires, one.unusable)
            for one in self._watched
        )
        added = (CertificateFile(pair.source, pair.source.partition(":")[2], pair.expires) for pair in self._added)
        return (*watched, *added)

    def apply_config(self, tls: TLSConfig) -> None:
        """Use the certificates and the ciphers of this configuration. Raises UnusablePair, and changes nothing.

        Pairs that are in use stay, also those whose files have changed: `refresh` loads these.
        """
        known = {one.files: one for one in self._watched}
        watched = [known.get(files) or WatchedPair.load(files) for files in tls.pairs()]
        if tls.ciphers != self._tls.ciphers:
            self._contexts.clear()
            self.front.set_ciphers(tls.ciphers)
        self._tls, self._watched = tls, watched
        self._arrange()

    def set_pairs(self, pairs: Sequence[CertificatePair]) -> None:
        """Present these pairs besides those of files, which come first; they replace earlier ones of this kind."""
        if tuple(pairs) != self._added and (pairs or self._watched):
            self._added, self._has_others = tuple(pairs), True
            self._arrange()

    def set_challenges(self, pairs: Mapping[str, CertificatePair]) -> None:
        """Answer the challenges by TLS-ALPN for these names, each by a certificate of its own, and no others (RFC 8737
        §3). They do not change what other clients get.
        """
        self._challenges = {_server_name(name): _challenge_context(pair) for name, pair in pairs.items()}

    def set_on_unknown(self, on_unknown: Callable[[str], object]) -> None:
        """Call `on_unknown` with each name that a client asks for and that has no certificate. It returns at once."""
        self._on_unknown = on_unknown

    def context_for(self, flight: bytes) -> ssl.SSLContext:
        """The context of a connection, by the first bytes of the client: that of a challenge if it offers the protocol
        and asks for the name, else the front one. OpenSSL's callback for the name does not have the protocols, and
        gevent's has no place for a connection without a socket. A client that sends these bytes by chance gets what it
        asks for.
        """
        if not self._challenges or _OFFERED not in flight:
            return self.front
        found = flight.lower()
        return next((context for name, context in self._challenges.items() if name in found), self.front)

    def refresh(self) -> bool:
        """Load the files that have changed; those that cannot be used leave the earlier certificate in use. Returns
        whether any has changed.
        """
        before = [one.pair for one in self._watched]
        changed = [one.refresh() for one in self._watched]  # each of them
        if [one.pair for one in self._watched] != before:
            self._arrange()
        has_others, self._has_others = self._has_others, False
        return any(changed) or has_others

    def content(self) -> object:
        """What the contexts are made of: the same value while nothing has changed."""
        return tuple(self._pairs()), self._tls.ciphers

    def like(self, adjust: Adjust) -> ssl.SSLContext:
        """Another front context for the same names, adjusted in this way too; contexts behind it are of its own.

        Raises OSError or ValueError.
        """
        without_files = self._tls.model_copy(update={"certificate": "", "key": "", "certificates": ()})
        return Certificates(without_files, lambda make: adjust(partial(self._adjust, make)), self._pairs()).front

    def _pairs(self) -> list[CertificatePair]:
        return [*(one.pair for one in self._watched), *self._added]

    def _arrange(self) -> None:
        """Present the pairs from the next handshake on."""
        pairs = self._pairs()
        numbers = server_names.numbers_by_name([pair.names for pair in pairs])
        groups = {name: tuple(pairs[number] for number in chosen) for name, chosen in numbers.items()}
        default = _default(pairs)
        contexts = {group: self._context(group) for group in set(groups.values()) - {default}}
        if _key_types(default) == _key_types(self._in_front):
            for pair in default:
                if pair not in self._in_front:
                    pair.load_into(self.front)
            self._in_front, self._default = default, self.front
        else:  # the front context would keep the certificate of a type of key that there is no more
            self._default = contexts[default] = self._context(default)
        self._contexts = contexts
        self._by_name = {name: contexts.get(group, self._default) for name, group in groups.items()}

    def _context(self, pairs: tuple[CertificatePair, ...]) -> ssl.SSLContext:
        return self._contexts.get(pairs) or self._adjust(partial(_context, self._tls, pairs))

    def _choose(self, connection: object, name: str | None, _front: ssl.SSLContext) -> None:
        """OpenSSL's callback in each handshake, with the name that the client asks for."""
        found = None if name is None else server_names.find(self._by_name, name)
        if found is None and name is not None and self._on_unknown is not None:
            self._on_unknown(name)
        context = found or self._default
        if context is not self.front:
            handshake = cast("ssl.SSLObject", connection)
            handshake.context = context


class CertificateWatch:
    """Refreshes the certificates of a configuration now and every INTERVAL seconds, and calls `also` then. `on_change`
    is called with them now, and when their files have changed.
    """

    def __init__(
        self,
        certificates: Certificates,
        tls: TLSConfig,
        on_change: Callable[[tuple[CertificateFile, ...]], None],
        also: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._certificates = certificates
        self._also = also
        self._on_change = on_change
        self.apply_config(tls)
        self._task = BackgroundTask("certificates", self._check_files, every=INTERVAL)
        self._task.start()

    def __repr__(self) -> str:
        return f"<CertificateWatch {self._certificates!r}>"

    def apply_config(self, tls: TLSConfig) -> None:
        """Use the certificates of this configuration."""
        try:
            if tls.sources:
                self._certificates.apply_config(tls)
        except UnusablePair as error:  # it was usable when the configuration was checked
            log.error("tls: the certificates from before stay in use: %s", error)
        self._certificates.refresh()
        self._on_change(self._certificates.files())
        for refresh in self._also:
            refresh()

    def _check_files(self) -> None:
        if self._certificates.refresh():
            self._on_change(self._certificates.files())
        for refresh in self._also:
            refresh()


def _context(tls: TLSConfig, pairs: tuple[CertificatePair, ...]) -> ssl.SSLContext:
    """A context by the settings, without those of a gunicorn file. ALPN offers HTTP/1.1 (RFC 7301)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion[tls.minimum.replace(".", "_")]
    context.set_ciphers(tls.ciphers)
    context.set_alpn_protocols(["http/1.1"])
    for pair in pairs:
        pair.load_into(context)
    return context


def _server_name(name: str) -> bytes:
    """The entry for the name in the extension server_name (RFC 6066 §3): its type, 0, its length, and the name. In
    small letters, also where the length looks like a letter.
    """
    return (b"\0" + len(name).to_bytes(2) + name.encode("ascii")).lower()


def _challenge_context(pair: CertificatePair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([CHALLENGE_PROTOCOL])
    pair.load_into(context)
    return context


def _signatures(files: PairFiles) -> tuple[Signature, ...]:
    return tuple(map(signature, (files.certificate, files.key)))


def signature(path: str) -> Signature:
    """That of the file now."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _default(pairs: Sequence[CertificatePair]) -> tuple[CertificatePair, ...]:
    return tuple(pairs[number] for number in server_names.default_numbers([pair.names for pair in pairs]))


def _key_types(pairs: Sequence[CertificatePair]) -> set[str]:
    return {pair.names.key_type for pair in pairs}
