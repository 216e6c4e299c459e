"""Distinguished names of certificates as one line of text (RFC 4514)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: Short names of attribute types (RFC 4514 §3), by the names that OpenSSL has for them.
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
#: Characters that are escaped anywhere, and those that are at an end (RFC 4514 §2.4).
_SPECIAL: Final = re.compile(r"[\"+,;<>\\]|^[ #]|(?<!^) $")
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
#: Characters of a line; a longer one is cut.
MOST: Final = 4096

#: A name as Python's `ssl` has it: sets of attributes, each a type and a value, the most general first.
DistinguishedName = Iterable[Iterable[tuple[str, str]]]


def line_of(name: DistinguishedName) -> str:
    """The name as a line of printable ASCII, the most specific attribute first: `CN=app,O=Example`.

    Types without a short name have that of OpenSSL, such as `emailAddress`.
    """
    sets = ["+".join([f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in one]) for one in name]
    return ",".join(reversed(sets))[:MOST]


def _escaped(value: str) -> str:
    return _NOT_PRINTABLE.sub(_hexadecimal, _SPECIAL.sub(r"\\\g<0>", value))


def _hexadecimal(found: re.Match[str]) -> str:
    """The bytes of a character, each as a backslash and two digits."""
    return "".join([f"\\{byte:02X}" for byte in found[0].encode("utf-8", "replace")])
