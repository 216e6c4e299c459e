"""Traefik's certificates, options of TLS, and certificates of clients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lbflask.importers.client_authorities import OPTIONAL, REQUIRED, ClientAuthority, set_client_authorities
from lbflask.importers.site import Site
from lbflask.importers.traefik.documents import TraefikDocuments, table_of, texts_of
from lbflask.importers.traefik.entry_points import EntryPoints

_MODES = {"VerifyClientCertIfGiven": OPTIONAL, "RequireAndVerifyClientCert": REQUIRED}
_SKIPPED = frozenset({"curvepreferences", "preferservercipherssuites", "preferserverciphersuites", "alpnprotocols"})


class TLSOptions:
    """`tls` of the dynamic configuration, and what routers name of it."""

    def __init__(self, documents: TraefikDocuments, site: Site) -> None:
        self._documents, self._site = documents, site
        self._settings = documents.settings
        self._options = table_of(self._settings, "tls", "options")

    def add(self, routers: Mapping[str, Any]) -> None:
        """Set certificates, versions and authorities."""
        self._certificates()
        self._authorities(routers)
        for name, options in self._options.items():
            self._option(name, table_of(options))
        for key in table_of(self._settings, "tls"):
            if key not in ("certificates", "options", "stores"):
                self._site.lose(self._documents.place(key), f"tls.{key}", "[tls] has minimum and ciphers")

    def certified(self, routers: Mapping[str, Any], points: EntryPoints) -> set[str]:
        """Set which certificates of clients each listener takes. The routers whose routes require one besides."""
        found: set[str] = set()
        secure = {name: one for name, one in routers.items() if isinstance(one, Mapping) and "tls" in one}
        binds = dict.fromkeys(bind for one in secure.values() for bind in points.tls_binds(one))
        for bind in binds:
            names = [name for name, one in secure.items() if bind in points.tls_binds(one)]
            wanted = {name: self._client_authority(name, secure[name]) for name in names}
            if set_client_authorities(self._site, bind, list(wanted.values())):
                found |= {name for name, one in wanted.items() if one.mode == REQUIRED}
        return found

    def _client_authority(self, router: str, values: Mapping[str, Any]) -> ClientAuthority:
        name = str(table_of(values, "tls").get("options") or "default").partition("@")[0].lower()
        auth = table_of(self._options.get(name), "clientauth")
        place, title = self._documents.place("clientauth"), f"tls.options.{name}.clientAuth"
        if not auth:
            return ClientAuthority(place, f"router {router}")
        kind, files = str(auth.get("clientauthtype", "")), texts_of(auth.get("cafiles"))
        mode = _MODES.get(kind, "")
        if not mode and kind != "NoClientCert":
            reason = 'a certificate is always verified: client_certificates = "optional" of the listener'
            self._site.lose(place, f"{title}.clientAuthType {kind}", reason)
        if len(files) > 1:
            self._site.lose(place, f"{title}.caFiles", f"client_ca is one file: add the others to {files[0]}")
        return ClientAuthority(place, title, mode, files[0] if files else "")

    def _option(self, name: str, options: Mapping[str, Any]) -> None:
        for key, value in options.items():
            place = self._documents.place(key)
            if key == "minversion":
                if name != "default":
                    self._site.differ(place, f"tls.options.{name}.minVersion", "tls.minimum is for all listeners")
                self._site.set_default("tls.minimum", "TLSv1.3" if value == "VersionTLS13" else "TLSv1.2")
            elif key in _SKIPPED:
                self._site.skip(place, f"tls.options.{name}.{key}", "is OpenSSL's")
            elif key == "sniStrict".lower():
                self._site.lose(place, f"tls.options.{name}.sniStrict", "other names get the first certificate")
            elif key == "ciphersuites":
                self._site.lose(place, f"tls.options.{name}.cipherSuites", "tls.ciphers has OpenSSL's names")
            elif key != "clientauth":
                self._site.lose(place, f"tls.options.{name}.{key}", "[tls] has minimum and ciphers")

    def _certificates(self) -> None:
        """Certificates of files; that of the default store comes first, since it is the one for other names."""
        default = table_of(self._settings, "tls", "stores", "default", "defaultcertificate")
        listed = table_of(self._settings, "tls").get("certificates") or ()
        for one in (*([default] if default else []), *(listed if isinstance(listed, list) else ())):
            pair = {"cert": str(table_of(one).get("certfile", "")), "key": str(table_of(one).get("keyfile", ""))}
            pairs = self._site.settings.setdefault("tls", {}).setdefault("certificates", [])
            if pair not in pairs:
                pairs.append(pair)

    def _authorities(self, routers: Mapping[str, Any]) -> None:
        """Certificates of an authority, for the names of routers with TLS."""
        resolvers = table_of(self._settings, "certificatesresolvers")
        secure = [router for router in routers.values() if isinstance(router, Mapping) and "tls" in router]
        wanted = [router for router in secure if table_of(router, "tls").get("certresolver") or resolvers]
        hosts = [host for router in wanted for host in re.findall(r"Host\(`([^`]+)`", str(router.get("rule", "")))]
        if not hosts:
            if secure and "tls" not in self._site.settings:
                place = self._documents.place("tls")
                self._site.lose(place, "tls", "Traefik makes a certificate of its given; here: tls.certificates")
            return
        acme: dict[str, Any] = {"domains": list(dict.fromkeys(host.lower() for host in hosts))}
        for resolver in resolvers.values():
            values = table_of(resolver, "acme")
            acme |= {"email": str(values["email"])} if values.get("email") else {}
            acme |= {"directory": str(values["caserver"])} if values.get("caserver") else {}
            if "tlschallenge" in values:
                acme["challenge"] = "tls-alpn-01"
            if "dnschallenge" in values:
                reason = 'challenge = "dns-01", whose dns_hook is a command of yours'
                self._site.lose(self._documents.place("dnschallenge"), "dnsChallenge", reason)
        self._site.settings.setdefault("tls", {})["acme"] = acme
