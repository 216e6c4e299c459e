"""Configuration of `access`: the networks whose clients may make requests, in the file or in lists of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from lbflask.config.field_types import Listed, Section
from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import SOURCE
from lbflask.core.access_list import BadNetworks, NetworkList, network_list

#: What a file of networks begins with in a list.
FILE = "file:"
#: Lines of a file that an error names.
_MOST_NAMED = 10


def _network(text: str) -> str:
    if text.startswith(FILE):
        if not text.removeprefix(FILE):
            raise ValueError("needs the path of a file with a network in each line: file:/etc/lbflask/deny.txt")
        return text
    try:
        if not len(network_list([text])):
            raise ValueError("is empty: an address or a network such as 203.0.113.0/24 is missing")
    except BadNetworks as error:
        raise ValueError(f"{error}; `file:PATH` names a file with a network in each line") from None
    return text


#: An address or a network, `all`, `unix`, or a file of them.
NetworkText = Annotated[str, SOURCE, AfterValidator(_network)]


class TrafficAccessConfig(Section):
    """Which clients may make requests, by their addresses. The most specific network decides."""

    allow: Listed[NetworkText] | None = None
    """Networks whose clients may make requests, and no others: `10.0.0.0/8`, `unix`, `all`, `file:PATH` with lines."""
    deny: Listed[NetworkText] | None = None
    """Networks whose clients get 403: the same forms (docs/how-to/access.md)."""

    def read_lists(self, where: str) -> dict[str, NetworkList]:
        """The networks of each file. Raises ValueError, which names the setting after `where`."""
        found: dict[str, NetworkList] = {}
        for key in ("allow", "deny"):
            for text in getattr(self, key) or ():
                if text.startswith(FILE) and text not in found:
                    found[text] = _read(f"{where}.{key}", text.removeprefix(FILE))
        return found


class AccessConfig(TrafficAccessConfig):
    """Which clients may make requests, by their addresses."""

    allow: Listed[NetworkText] = ()
    deny: Listed[NetworkText] = ()

    def to_lists(self, files: Mapping[str, NetworkList]) -> tuple[list[NetworkList], list[NetworkList]]:
        """The allowed and the denied networks; `files` has those of files."""
        return _lists(self.allow, files), _lists(self.deny, files)


def _lists(texts: tuple[str, ...], files: Mapping[str, NetworkList]) -> list[NetworkList]:
    """None without texts: an allowed list, even an empty one, refuses all others."""
    written = [text for text in texts if not text.startswith(FILE)]
    lists = [network_list(written), *(files[text] for text in texts if text.startswith(FILE))]
    return lists if texts else []


def _read(where: str, path: str) -> NetworkList:
    try:
        return network_list(read_text(path).split("\n"))
    except UnusableFile as error:
        raise ValueError(f"{where}: {path!r} {error}") from None
    except BadNetworks as bad:
        lines = "; ".join(f"line {number}: {reason}" for number, reason in bad.errors[:_MOST_NAMED])
        more = len(bad.errors) - _MOST_NAMED
        raise ValueError(f"{where}: {path!r} {lines}{f'; {more} more bad lines' if more > 0 else ''}") from None
