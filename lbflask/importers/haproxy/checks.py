"""HAProxy's rules that keep requests out by who sends them: addresses, users with passwords, certificates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.haproxy.conditions import Conditions, UnknownCondition
from lbflask.importers.haproxy.users import users_of
from lbflask.importers.networks import EVERY
from lbflask.importers.passwords import basic_auth
from lbflask.importers.site import Site
from lbflask.importers.variants import PartialSettings

_CERTIFICATE = frozenset({"ssl_c_used", "ssl_fc_has_crt", "ssl_c_verify 0"})
_USERS = re.compile(r"http_auth(?:_group)?\((\w+)\)((?: \S+)*)")


class CheckReader:
    """Reads the checks of one section. `sections` has the lists of users."""

    def __init__(self, site: Site, conditions: Conditions, sections: Sequence[Directive]) -> None:
        self._site, self._conditions, self._sections = site, conditions, sections

    def networks(self, condition: Sequence[str]) -> list[tuple[bool, str]]:
        """The rules of `access` that refusing under the condition is; none if it is about more than addresses. Raises
        UnknownCondition.
        """
        alternatives = self._conditions.terms(condition)
        if len(alternatives) != 1 or len(alternatives[0]) != 1:
            return []
        ((criteria, negated),) = alternatives[0]
        if any(words[:1] != ("src",) for words in criteria):
            return []
        found = [network for words in criteria for network in _networks(words[1:])]
        if not negated:
            return [(False, network) for network in found]
        return [*((True, network) for network in found), (False, EVERY)]

    def check(self, one: Directive, condition: Sequence[str], realm: str = "") -> list[PartialSettings] | None:
        """The settings that `auth` or `deny` under the condition is; None if it is about no user and no certificate.
        Raises UnknownCondition.
        """
        try:
            found = self._conditions.without(condition, _is_check)
        except UnknownCondition as error:
            failing = self._conditions.checks(condition, _is_check)
            if not failing:
                raise
            self._site.differ(one.place, one.text, f"for all requests: match has no equal of: {error}")
            found = (failing, [{}])
        if found is None:
            return None
        criteria, matches = found
        settings = self._settings(criteria, realm)
        return [PartialSettings(one.place, one.text, match, settings) for match in matches]

    def _settings(self, criteria: Sequence[tuple[str, ...]], realm: str) -> dict[str, Any]:
        users: dict[str, Any] = {}
        name = ""
        for words in criteria:
            if found := _USERS.fullmatch(" ".join(words)):
                name = found[1]
                users |= users_of(self._sections, name, found[2].split())
        return {"auth": basic_auth(name, users, self._site, realm)} if name else {"client_certificate": True}


def expect_proxy(section: Directive) -> list[str]:
    """The networks of `tcp-request connection expect-proxy layer4 if { src … }`."""
    found: list[str] = []
    for one in section.named("tcp-request"):
        if one.args[:3] == ("connection", "expect-proxy", "layer4") and one.args[3:6] == ("if", "{", "src"):
            found += [part for part in one.args[6:] if part != "}"]
    return found


def _is_check(words: Sequence[str]) -> bool:
    text = " ".join(words)
    return text in _CERTIFICATE or _USERS.fullmatch(text) is not None


def _networks(words: Sequence[str]) -> list[str]:
    """Addresses, and files of them after -f. Raises UnknownCondition for another flag."""
    found: list[str] = []
    values = iter(words)
    for part in values:
        if part == "-f":
            found.append(f"file:{next(values, '')}")
        elif part.startswith("-") and part != "--":
            raise UnknownCondition(" ".join(words))
        elif part != "--":
            found.append(part)
    return found
