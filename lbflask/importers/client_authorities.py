"""Certificates of clients: other proxies ask for them by name or by site, lbflask by listener."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lbflask.importers.site import Place, Site

REQUIRED, OPTIONAL = "required", "optional"


@dataclass(frozen=True, slots=True)
class ClientAuthority:
    """What a site wants of its clients: `mode` is REQUIRED, OPTIONAL, or empty for no certificate."""

    place: Place
    title: str
    mode: str = ""
    ca: str = ""
    crl: str = ""


def set_client_authorities(site: Site, bind: str, sites: Sequence[ClientAuthority]) -> bool:
    """Set the listener so that all of its sites get what they want. Returns whether sites that require a certificate
    need `client_certificate` in their routes, since the listener admits clients without one for other sites.
    """
    wanted = [one for one in sites if one.mode and one.ca]
    if not wanted:
        return False
    first = wanted[0]
    for one in wanted[1:]:
        if (one.ca, one.crl) != (first.ca, first.crl):
            site.lose(one.place, one.title, f"a listener has one file of authorities: add these to {first.ca}")
    is_required = len(wanted) == len(sites) and all(one.mode == REQUIRED for one in wanted)
    settings: dict[str, Any] = {"client_certificates": REQUIRED if is_required else OPTIONAL, "client_ca": first.ca}
    site.set_listener(bind, {**settings, **({"client_crl": first.crl} if first.crl else {})})
    if is_required:
        site.differ(first.place, first.title, "clients without a certificate get no connection, not a response")
    return not is_required
