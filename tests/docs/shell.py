"""Command lines as a shell reads them: the commands of a line, each with its variables and its words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

#: What stands for a value that another command prints.
SUBSTITUTED = "VALUE"
_SUBSTITUTION = re.compile(r"[$<]\(([^()]*)\)")
_DESCRIPTORS = re.compile(r"\d?>&\d|&>")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_WORDS = frozenset({"do", "done", "then", "fi", "else", "while", "until", "if", "!", "{", "}", "time"})
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


class Command(NamedTuple):
    """A program with its arguments, and the variables that are set for it; no words for variables alone."""

    variables: dict[str, str]
    words: list[str]


def lines_of_script(text: str) -> Iterator[str]:
    """The command lines of a script, without here-documents; a backslash at the end of a line continues it."""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            yield line
            found = _HEREDOC.search(line)
            while found and next(lines, found[1]) != found[1]:
                pass


def commands_of(line: str) -> Iterator[Command]:
    """The commands of a line: of pipelines, lists, loops, and within substitutions. Raises ValueError."""
    for inner in _SUBSTITUTION.findall(line):
        yield from commands_of(inner)
    words: list[str] = []
    for token in _tokens(line):
        if re.fullmatch(r"[;&|()]+", token):
            yield from _command(words)
            words = []
        else:
            words.append(token)
    yield from _command(words)


def _tokens(line: str) -> Iterator[str]:
    """The words and operators of a line up to its comment. Redirections are left out."""
    text = _DESCRIPTORS.sub(" ", _SUBSTITUTION.sub(SUBSTITUTED, line))
    lexer = shlex.shlex(_HEREDOC.sub(" ", text), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    while (token := lexer.get_token()) is not None:
        if token.startswith("#"):
            return
        if re.fullmatch(r"[<>]+", token):
            lexer.get_token()
        else:
            yield token


def _command(words: list[str]) -> Iterator[Command]:
    while words and words[0] in _WORDS:
        words = words[1:]
    variables = {}
    while words and (found := _VARIABLE.fullmatch(words[0])):
        variables[found[1]] = found[2]
        words = words[1:]
    if (variables or words) and words[:1] != ["for"]:
        yield Command(variables, words)
