"""Caddyfiles: tokens, blocks, snippets and imports (caddyserver.com/docs/caddyfile/concepts)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbflask.importers.directives import Directive
from lbflask.importers.site import Place, Site, UnreadableConfiguration

_ENVIRONMENT = re.compile(r"\{\$([A-Za-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}")
_ARGUMENT = re.compile(r"\{args(?:\[(\d+)\]|\.(\d+))\}")
DEEPEST_BLOCK = 40
DEEPEST_IMPORT = 10
MOST_TOKENS = 200_000


@dataclass(frozen=True, slots=True)
class _Token:
    place: Place
    text: str
    is_quoted: bool = False

    @property
    def opens(self) -> bool:
        return self.text == "{" and not self.is_quoted

    @property
    def closes(self) -> bool:
        return self.text == "}" and not self.is_quoted


def directives_of(files: Sequence[str], site: Site) -> list[Directive]:
    """The blocks of all files, with snippets and imported files in their places. Raises UnreadableConfiguration."""
    found: list[Directive] = []
    for file in files:
        found += _BlockParser(list(_tokens(file)), Path(file).name).blocks()
    snippets = {one.name[1:-1]: one.block or () for one in found if one.name.startswith("(") and one.name.endswith(")")}
    expansion = _Expansion(snippets, Path(files[0]).parent, site)
    return [one for one in expansion.expanded(found, 0) if not one.name.startswith("(")]


def _tokens(file: str) -> Iterator[_Token]:
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise UnreadableConfiguration(f"{file}: {reason}") from None
    name = Path(file).name
    count = 0
    at, line = 0, 1
    while at < len(text):
        char = text[at]
        if char.isspace():
            if char == "\n":
                yield _Token(Place(name, line), "\n")
                line += 1
            at += 1
            continue
        if char == "#":
            at = _end(text, "\n", at)
            continue
        if text.startswith("\\\n", at):
            at, line = at + 2, line + 1
            continue
        place = Place(name, line)
        token, at = _token(text, at, place)
        line += token.text.count("\n") if token.is_quoted else 0
        count += 1
        if count > MOST_TOKENS:
            raise UnreadableConfiguration(f"{file}: more than {MOST_TOKENS} tokens")
        yield token


def _end(text: str, wanted: str, at: int) -> int:
    found = text.find(wanted, at)
    return len(text) if found < 0 else found


def _token(text: str, at: int, place: Place) -> tuple[_Token, int]:
    if text[at] == '"':
        found = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).match(text, at)
        if found is None:
            raise UnreadableConfiguration(f"{place}: a quote has no end")
        return _Token(place, found[1].replace('\\"', '"'), True), found.end()
    if text[at] == "`":
        end = text.find("`", at + 1)
        if end < 0:
            raise UnreadableConfiguration(f"{place}: a quote has no end")
        return _Token(place, text[at + 1 : end], True), end + 1
    if heredoc := re.compile(r"<<([A-Za-z0-9_-]+)\n(.*?)\n([ \t]*)\1(?=\s|$)", re.DOTALL).match(text, at):
        body = "\n".join(row.removeprefix(heredoc[3]) for row in heredoc[2].split("\n"))
        return _Token(place, body, True), heredoc.end()
    end = at
    while end < len(text) and not text[end].isspace():
        end += 1
    return _Token(place, text[at:end]), end


class _BlockParser:
    def __init__(self, tokens: Sequence[_Token], name: str) -> None:
        self._tokens = tokens
        self._at = 0
        self._name = name

    def blocks(self) -> list[Directive]:
        """The blocks of the file; a file without braces around its site is one site."""
        found = list(self._lines(0))
        without = [one for one in found if one.block is None and one.name != "import"]
        if without and found[0] is without[0] and not any(_is_address_line(one) for one in found[1:]):
            head = found[0]
            return [Directive(head.place, head.name, head.args, tuple(found[1:]))]
        return found

    def _lines(self, depth: int) -> Iterator[Directive]:
        if depth > DEEPEST_BLOCK:
            raise UnreadableConfiguration(f"{self._name}: more than {DEEPEST_BLOCK} blocks within blocks")
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.text == "\n" and not token.is_quoted:
                continue
            if token.closes:
                if depth == 0:
                    raise UnreadableConfiguration(f"{token.place}: a brace closes no block")
                return
            yield self._line(token, depth)
        if depth:
            raise UnreadableConfiguration(f"{self._name}: a block has no end")

    def _line(self, head: _Token, depth: int) -> Directive:
        if head.opens:
            return Directive(head.place, "{", (), tuple(self._lines(depth + 1)))
        args: list[str] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.text == "\n" and not token.is_quoted:
                if args and args[-1].endswith(",") and depth == 0:
                    self._at += 1
                    continue
                break
            if token.closes:
                break
            self._at += 1
            if token.opens:
                block = tuple(self._lines(depth + 1))
                return Directive(head.place, _expanded(head.text), tuple(map(_expanded, args)), block)
            args.append(token.text)
        return Directive(head.place, _expanded(head.text), tuple(map(_expanded, args)))


def _is_address_line(one: Directive) -> bool:
    return one.block is not None and bool(re.match(r"(https?://|[\w*.-]+\.[a-z]+\b|:\d)", one.name))


def _expanded(text: str) -> str:
    """A variable of the environment as lbflask.toml has it; any other `${` is text."""
    text = text.replace("${", "$${")
    return _ENVIRONMENT.sub(
        lambda found: f"${{{found[1]}}}" if found[2] is None else f"${{{found[1]}:-{found[2]}}}", text
    )


class _Expansion:
    """Puts snippets and files in the place of `import`."""

    def __init__(self, snippets: dict[str, tuple[Directive, ...]], folder: Path, site: Site) -> None:
        self._snippets, self._folder, self._site = dict(snippets), folder, site
        self._left = MOST_TOKENS

    def expanded(self, block: Sequence[Directive], depth: int) -> Iterator[Directive]:
        if depth > DEEPEST_IMPORT + DEEPEST_BLOCK:
            raise UnreadableConfiguration(f"{block[0].place}: imports within imports")
        for one in block:
            self._left -= 1
            if self._left < 0:
                raise UnreadableConfiguration(f"{one.place}: imports make more than {MOST_TOKENS} directives")
            if one.name == "import" and one.args:
                yield from self.expanded(self._imported(one), depth + 1)
            elif one.block is not None:
                yield Directive(one.place, one.name, one.args, tuple(self.expanded(one.block, depth + 1)))
            else:
                yield one

    def _imported(self, one: Directive) -> list[Directive]:
        name = one.args[0]
        if name in self._snippets:
            return [_with_arguments(inner, one.args[1:]) for inner in self._snippets[name]]
        files = sorted(self._folder.glob(name)) if not name.startswith("/") else [Path(name)]
        files = [file for file in files if file.is_file()]
        if not files and "*" not in name:
            self._site.lose(one.place, one.text, "the snippet or file is not here; import it where it is")
        found: list[Directive] = []
        for file in files:
            blocks = list(_BlockParser(list(_tokens(str(file))), file.name)._lines(0))
            self._snippets |= {inner.name[1:-1]: inner.block or () for inner in blocks if inner.name.startswith("(")}
            found += [_with_arguments(inner, one.args[1:]) for inner in blocks if not inner.name.startswith("(")]
        return found


def _with_arguments(one: Directive, values: Sequence[str]) -> Directive:
    def value(found: re.Match[str]) -> str:
        number = int((found[1] or found[2])[:6])
        return values[number] if number < len(values) else found[0]

    block = None if one.block is None else tuple(_with_arguments(inner, values) for inner in one.block)
    return Directive(
        one.place, _ARGUMENT.sub(value, one.name), tuple(_ARGUMENT.sub(value, arg) for arg in one.args), block
    )
