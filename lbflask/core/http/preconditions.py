"""Preconditions of a request for a file: entity tags and dates against what the file has (RFC 9110 §13).

werkzeug's rules are not used: they read dates that are none of HTTP's, and would bring werkzeug into the data plane.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lbflask.core.http.http_dates import date_seconds

#: Fields of a request that this module and the choice of a range read.
IF_MATCH: Final = "if-match"
IF_NONE_MATCH: Final = "if-none-match"
IF_MODIFIED_SINCE: Final = "if-modified-since"
IF_UNMODIFIED_SINCE: Final = "if-unmodified-since"
IF_RANGE: Final = "if-range"

_TAG: Final = r'(?:W/)?"[!#-~\x80-\xff]*"'
_TAGS: Final = re.compile(rf"[ \t,]*+{_TAG}(?:[ \t]*+,[ \t,]*+{_TAG})*+[ \t,]*+")
_EACH: Final = re.compile(_TAG)


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of a file: its entity tag, and when it was modified, in seconds since 1970."""

    etag: str
    modified: int

    def matches(self, tags: str, *, weak: bool) -> bool:
        """Whether one of the tags of a field is that of the file, by the weak or the strong comparison (§8.8.3.2)."""
        if tags.strip(" \t") == "*":
            return True
        if _TAGS.fullmatch(tags) is None:
            return False
        if weak:
            bare = self.etag.removeprefix("W/")
            return any(tag.removeprefix("W/") == bare for tag in _EACH.findall(tags))
        return not self.etag.startswith("W/") and self.etag in _EACH.findall(tags)


def failed_status(asked: Mapping[str, str], validators: Validators, now: float) -> int | None:
    """304 or 412 for a GET or HEAD whose preconditions fail, None if they hold: steps 1 to 4 of RFC 9110 §13.2.2.

    `asked` has the fields of the request by names in small letters, with the values of repeated ones joined.
    """
    if IF_MATCH in asked:
        if not validators.matches(asked[IF_MATCH], weak=False):
            return 412
    elif (since := date_seconds(asked.get(IF_UNMODIFIED_SINCE, ""), now)) is not None and validators.modified > since:
        return 412
    if IF_NONE_MATCH in asked:
        return 304 if validators.matches(asked[IF_NONE_MATCH], weak=True) else None
    since = date_seconds(asked.get(IF_MODIFIED_SINCE, ""), now)
    return 304 if since is not None and validators.modified <= since else None


def range_applies(asked: Mapping[str, str], validators: Validators, now: float) -> bool:
    """Whether If-Range, if there is one, allows a range (§13.1.5): its validator is a strong one, and that of the file.

    A date is strong for a file that was not modified within the second before (§8.8.2.2).
    """
    condition = asked.get(IF_RANGE)
    if condition is None:
        return True
    if condition.endswith('"'):
        return _EACH.fullmatch(condition) is not None and validators.matches(condition, weak=False)
    return date_seconds(condition, now) == validators.modified and validators.modified + 1 <= now
