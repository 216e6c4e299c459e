"""The directives of nginx's files, with those that they include in their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.site import Place, Site, UnreadableConfiguration

#: Files within files, as nginx bounds them, and directives of all files.
DEEPEST_INCLUDE = 10
MOST_DIRECTIVES = 100_000
_WITH_ARGUMENTS = frozenset(
    {"access_log", "alias", "error_page", "index", "listen", "proxy_pass", "return", "root", "try_files"}
    | {"ssl_certificate", "ssl_certificate_key", "ssl_ciphers"}
)


def directives_of(files: Sequence[str], site: Site) -> tuple[Directive, ...]:
    """The directives of all files, `http` as if it were not there. Raises UnreadableConfiguration."""
    try:
        import crossplane  # noqa: PLC0415 - an optional library
    except ImportError:
        raise UnreadableConfiguration(
            "nginx files need the package crossplane: pip install 'lbflask[import]'"
        ) from None
    found: list[Directive] = []
    for file in files:
        if not Path(file).is_file():
            raise UnreadableConfiguration(f"{file}: does not exist" if not Path(file).exists() else f"{file}: no file")
        try:
            parsed: dict[str, Any] = crossplane.parse(
                file, catch_errors=True, check_ctx=False, check_args=True, strict=False
            )
        except (OSError, ValueError, RecursionError) as error:
            raise UnreadableConfiguration(f"{file}: {error}") from None
        found += _Files(parsed["config"], str(Path(file).parent), site).top()
    return tuple(found)


class _Files:
    def __init__(self, files: Sequence[Mapping[str, Any]], folder: str, site: Site) -> None:
        self._files = files
        self._folder = folder
        self._site = site
        self._left = MOST_DIRECTIVES

    def top(self) -> list[Directive]:
        found = []
        for one in self._of_file(0, 0):
            found += list(one.block or ()) if one.name == "http" else [one]
        return found

    def _of_file(self, number: int, depth: int) -> Iterator[Directive]:
        file = self._files[number]
        name = str(Path(file["file"]).relative_to(self._folder)) if self._is_below(file["file"]) else file["file"]
        for error in file.get("errors", ()):
            if "[Errno" not in str(error.get("error", "")):  # a missing file is listed where it is named
                reason = str(error["error"]).rpartition(" in ")[0] or error["error"]
                raise UnreadableConfiguration(f"{Place(name, error.get('line') or 0)}: {reason}")
        yield from self._of_block(file["parsed"], name, depth)

    def _is_below(self, file: str) -> bool:
        return Path(file).is_relative_to(self._folder)

    def _of_block(self, block: Sequence[Mapping[str, Any]], file: str, depth: int) -> Iterator[Directive]:
        for one in block:
            self._left -= 1
            if self._left < 0:
                raise UnreadableConfiguration(f"{file}: more than {MOST_DIRECTIVES} directives")
            place = Place(file, one["line"])
            if one["directive"] in _WITH_ARGUMENTS and not one["args"]:
                raise UnreadableConfiguration(f"{place}: {one['directive']} has no argument")
            if one["directive"] == "include":
                yield from self._included(one, place, depth)
                continue
            inner = tuple(self._of_block(one["block"], file, depth)) if "block" in one else None
            yield Directive(place, one["directive"], tuple(one["args"]), inner)

    def _included(self, one: Mapping[str, Any], place: Place, depth: int) -> Iterator[Directive]:
        numbers = one.get("includes", ())
        if depth >= DEEPEST_INCLUDE:
            raise UnreadableConfiguration(f"{place}: more than {DEEPEST_INCLUDE} files within files")
        named = " ".join(one["args"])
        if not numbers and named.endswith(("mime.types", "_params", "fastcgi.conf")):
            self._site.skip(place, f"include {named}", "lbflask has the usual types and parameters")
        elif not numbers and "*" not in named:
            self._site.lose(place, f"include {named}", "the file is not here; import it where it is")
        for number in numbers:
            yield from self._of_file(number, depth + 1)
