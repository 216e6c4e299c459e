"""Users with passwords as a file of their own beside the result, which `auth.basic` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbflask.core.password_file import BadPasswordLine, password_hashes
from lbflask.importers.site import Place, Site, name_of


def basic_auth(
    wanted: str, users: Mapping[str, tuple[Place, str]], site: Site, realm: str = "", **others: Any
) -> dict[str, Any]:
    """`auth` for users and their hashes: a file with those whose hash lbflask accepts. The others are listed. Backends
    get Authorization too, as from other proxies, unless `others` has another value.
    """
    lines = []
    for name, (place, text) in users.items():
        try:
            password_hashes(f"{name}:{text}")
        except BadPasswordLine as error:
            reason = str(error).removeprefix("line 1: ").partition(": ")[2] or str(error)
            site.lose(place, f"user {name}", f"its password is not in the file: {reason}")
        else:
            lines.append(f"{name}:{text}\n")
    file = f"{name_of(wanted, 'users')}.htpasswd"
    if lines:
        file = site.add_file(file, "".join(lines))
    return {"basic": {"file": file, **({"realm": realm} if realm else {}), "keep_credentials": True, **others}}
