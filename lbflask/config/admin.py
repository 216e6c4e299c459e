"""Access to the admin listener."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lbflask.config.field_types import Listed, Section, SocketMode, checked_by
from lbflask.config.files import UnusableFile, read_text
from lbflask.config.paths import FilePath
from lbflask.config.redaction import TokenText
from lbflask.core.admin_tokens import AdminToken, Role

TokenSetting = Annotated[TokenText, checked_by(lambda text: AdminToken.parse(text.reveal()))]


class AdminConfig(Section):
    """Access to the admin listener. Without tokens every client has access; then the listener must be local."""

    tokens: Listed[TokenSetting] = ()
    """Each `operator:NAME:SECRET`, with all rights, or `read:NAME:SECRET`. Several are valid at once, for rotation."""
    token_file: FilePath = ""
    """A file with further tokens, one per line; it is read again when it changes."""
    socket_mode: SocketMode = ""
    """Who may connect where `admin_bind` is a unix socket, as the mode of its file: `"0600"`. Unset, all may, but for
    gunicorn's `umask`.
    """

    def check(self, where: str, *, exposed: str) -> None:
        """Raises ValueError, which names the setting, for an unusable file, or if there is no token for an operator and
        the listener is `exposed` to other machines, at this address.
        """
        found = self.every_token(f"{where}.token_file")
        if exposed and not any(token.role is Role.OPERATOR for token in found):
            raise ValueError(
                f"admin_bind: {exposed!r} is no loopback address, so it needs a token for operators: set admin.tokens "
                "or admin.token_file"
            )

    def every_token(self, where: str = "admin.token_file") -> tuple[AdminToken, ...]:
        """The tokens of the setting and of the file. Raises ValueError, which begins with `where`."""
        given = tuple(AdminToken.parse(text.reveal()) for text in self.tokens)
        return (*given, *(read_tokens(Path(self.token_file), where) if self.token_file else ()))


def read_tokens(path: Path, where: str) -> list[AdminToken]:
    """The tokens in a file, one a line; empty lines and those that begin with # are skipped. Raises ValueError, which
    begins with `where` and contains no secret.
    """
    try:
        lines = read_text(path).splitlines()
    except UnusableFile as error:
        raise ValueError(f"{where}: {str(path)!r} {error}") from None
    found = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            try:
                found.append(AdminToken.parse(line))
            except ValueError as error:
                raise ValueError(f"{where}: {str(path)!r} line {number}: {error}") from None
    return found
