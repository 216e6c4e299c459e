"""HAProxy's `userlist` as users of basic authentication."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.importers.directives import Directive
from lbflask.importers.site import Place

_PLAIN = "in clear"  #: no hash, so that it is listed


def users_of(sections: Sequence[Directive], name: str, groups: Sequence[str] = ()) -> dict[str, tuple[Place, str]]:
    """The users of a list with their hashes, of these groups if there are any."""
    found: dict[str, tuple[Place, str]] = {}
    members: set[str] = set()
    for section in sections:
        if section.name != "userlist" or section.args[:1] != (name,):
            continue
        for one in section.named("group"):
            if one.args[:1] and one.args[0] in groups and one.args[1:2] == ("users",):
                members.update("".join(one.args[2:]).split(","))
        for one in section.named("user"):
            if not one.args:
                continue
            options = dict(zip(one.args[1::2], one.args[2::2], strict=False))
            found[one.args[0]] = (one.place, options.get("password", _PLAIN))
            if set(options.get("groups", "").split(",")) & set(groups):
                members.add(one.args[0])
    return {user: hashed for user, hashed in found.items() if not groups or user in members}
