"""Every block of every page is what its language says: configurations are valid, commands exist, code compiles.

A language without a check is a mistake, so that nothing escapes. `console` has commands after `$ `, with their output
below; `sh` has only commands; `text` has neither.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from devtools.environment import ROOT
from tests.docs.blocks import PAGES, Block, all_spans, blocks_on, page_of
from tests.docs.commands import problems_of_line, problems_of_mention, run_line
from tests.docs.configurations import problem_of_json, problem_of_toml, problem_of_variable
from tests.docs.shell import lines_of_script

#: What pages import and the tests' environment need not have.
FOREIGN = frozenset(
    {"aiohttp", "celery", "channels", "django", "fastapi", "shop_hooks", "sqlalchemy", "starlette", "uvicorn"}
    | {"websockets"}
)
#: Pages that tell of the past: their code spans may name what is gone.
HISTORY = re.compile(r"CHANGELOG\.md|docs/adr/")


def command_lines(block: Block) -> list[str]:
    if block.language == "console":
        shown = block.text.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]
    return list(lines_of_script(block.text)) if block.language in ("sh", "bash") else []


def problems_of_console(block: Block, page: str) -> list[str]:
    found = [problem for line in command_lines(block) for problem in problems_of_line(line, page)]
    return found if command_lines(block) or "^C" in block.text.splitlines() else ["no line begins with the prompt `$ `"]


def problems_of_script(block: Block, page: str) -> list[str]:
    prompts = [f"a prompt in a script: {line}" for line in block.text.splitlines() if line.startswith("$ ")]
    return [*prompts, *(problem for line in command_lines(block) for problem in problems_of_line(line, page))]


def problems_of_python(block: Block, _page: str) -> list[str]:
    try:
        tree = ast.parse(block.text)
    except SyntaxError as error:
        return [str(error)]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [problem for alias in node.names if (problem := missing_import(node.module, alias.name))]
        elif isinstance(node, ast.Import):
            found += [problem for alias in node.names if (problem := missing_import(alias.name))]
    return found


def missing_import(module: str, name: str = "") -> str:
    if module.partition(".")[0] in FOREIGN:
        return ""
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        return str(error)
    known = not name or hasattr(imported, name) or importlib.util.find_spec(f"{module}.{name}")
    return "" if known else f"{module} has no {name}"


def problems_of_session(block: Block, _page: str) -> list[str]:
    lines = [line[4:] for line in block.text.splitlines() if line.startswith((">>> ", "... "))]
    try:
        ast.parse("\n".join(lines))
    except SyntaxError as error:
        return [str(error)]
    return [] if lines else ["no line begins with the prompt `>>> `"]


def problems_of_yaml(block: Block, _page: str) -> list[str]:
    try:
        documents = list(yaml.safe_load_all(block.text))
    except yaml.YAMLError as error:
        return [str(error)]
    return [] if all(isinstance(one, (dict, list)) for one in documents) else ["no mapping or list"]


def problems_of_ini(block: Block, _page: str) -> list[str]:
    """A unit of systemd or the like; without a section, a file of variables."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    variables = [re.match(r"(LBFLASK_\w+)=(.*)", line) for line in block.text.splitlines()]
    try:
        parser.read_string(block.text if re.search(r"^\[", block.text, re.MULTILINE) else f"[variables]\n{block.text}")
    except configparser.Error as error:
        return [str(error)]
    return [problem for one in variables if one and (problem := problem_of_variable(one[1], one[2]))]


def problems_of_nginx(block: Block, page: str) -> list[str]:
    code = [line.partition(" #")[0].strip() for line in block.text.splitlines() if not line.lstrip().startswith("#")]
    ends = [
        f"not the end of a directive: {line}" for line in code if line and line[-1] not in ";{}'\"" and "…" not in line
    ]
    return [*ends, *problems_of_braces(block, page)]


def problems_of_braces(block: Block, _page: str) -> list[str]:
    code = re.sub(r"(?:^|\s)#.*", "", block.text)
    return [] if code.count("{") == code.count("}") else ["braces without their partners"]


def problems_of_haproxy(block: Block, _page: str) -> list[str]:
    """Sections begin at the margin, settings are indented."""
    sections = (
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "resolvers",
        "peers",
        "userlist",
        "cache",
        "#",
        "…",
    )
    return [
        f"no section: {line}" for line in block.text.splitlines() if line[:1].strip() and not line.startswith(sections)
    ]


def problems_of_mermaid(block: Block, _page: str) -> list[str]:
    kind = block.text.split(maxsplit=1)[0]
    return [] if kind in ("flowchart", "sequenceDiagram", "stateDiagram-v2") else [f"unknown diagram {kind}"]


def problems_of_text(block: Block, _page: str) -> list[str]:
    """No prompt; what begins with the name of the command is its usage, as `--help` shows it."""
    found = [
        f"a command in a text: {line}" for line in block.text.splitlines() if line.startswith(("$ ", "# pip", "pip "))
    ]
    usages = [line for line in block.text.splitlines() if line.startswith("lbflask ")]
    return [*found, *(problem for line in usages for problem in problems_of_mention(line.partition(" [")[0]))]


def only(check: Callable[[str], str]) -> Callable[[Block, str], list[str]]:
    return lambda block, _: [problem for problem in [check(block.text)] if problem]


CHECKS: dict[str, Callable[[Block, str], list[str]]] = {
    "toml": only(problem_of_toml),
    "json": only(problem_of_json),
    "console": problems_of_console,
    "sh": problems_of_script,
    "bash": problems_of_script,
    "python": problems_of_python,
    "pycon": problems_of_session,
    "yaml": problems_of_yaml,
    "ini": problems_of_ini,
    "nginx": problems_of_nginx,
    "caddyfile": problems_of_braces,
    "haproxy": problems_of_haproxy,
    "mermaid": problems_of_mermaid,
    "text": problems_of_text,
}


def problems_of(block: Block, page: str = "") -> list[str]:
    if block.language not in CHECKS:
        return [f"no check for a block of the language {block.language!r}"]
    return CHECKS[block.language](block, page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_block_is_what_its_language_says(page: Path) -> None:
    text = page.read_text("utf-8")
    found = {block.place: problems_of(block, text) for block in blocks_on(page)}
    assert {place: problems for place, problems in found.items() if problems} == {}


def test_code_spans_with_commands_name_what_exists() -> None:
    found = {}
    for place, span in all_spans():
        page = page_of(place).read_text("utf-8")
        if HISTORY.match(place):
            continue
        if span.startswith("lbflask "):
            found[place, span] = problems_of_mention(span)
        elif re.match(r"make [a-z]|python3? -m |\.venv/bin/python |curl |kill -[A-Z]|pip install |systemctl ", span):
            found[place, span] = problems_of_line(span.replace("…", ""), page)
    assert len(found) > 100
    assert {place: problems for place, problems in found.items() if problems} == {}


@pytest.mark.thorough
def test_harmless_commands_run(tmp_path: Path) -> None:
    lines = [line for page in PAGES for block in blocks_on(page) for line in command_lines(block)]
    harmless = [line for line in lines if re.match(r"lbflask (?!.*--running)", line)]
    (tmp_path / "lbflask.toml").write_text('backends = ["http://127.0.0.1:8001"]\n')
    assert [line for line in harmless if run_line(line, tmp_path)] != []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("", "pip install lbflask"),
        ("pearl", "print 1"),
        ("toml", "bakends = []"),
        ("toml", "[health]\ninterval = 'often'"),
        ("toml", "[health\n"),
        ("toml", "[[routes]]\nname = 'a'\nmatch = { pth = '/' }"),
        ("toml", "[project]\nname = 'x'"),
        ("json", "[1"),
        ("json", '[{"url": "http://127.0.0.1", "wait": 1}]'),
        ("console", "lbflask status"),
        ("console", "$ lbflask drian web1"),
        ("console", "$ lbflask status\nfleet ok\n$ lbflask drain web1 --weight 2"),
        ("sh", "$ lbflask status"),
        ("sh", "lbflask weight"),
        ("sh", "lbflask status | jg -r ."),
        ("sh", "lbflask serve --wrokers 4"),
        ("sh", "lbflask serve -c absent.py"),
        ("sh", "LBFLASK_BAKENDS=http://127.0.0.1:1 lbflask serve"),
        ("sh", "gunicorn -c python:lbflask.gunicorn_conf lbflask.wsgy"),
        ("sh", "make tests"),
        ("sh", "make test BUZY=2"),
        ("sh", "python -m benchmarks.hotpath"),
        ("sh", "python -m chaos --onyl workers"),
        ("sh", "pip install 'lbflask[embeded]'"),
        ("sh", "pip install -r requirements-absent.txt"),
        ("sh", "curl http://127.0.0.1:8090/helth"),
        ("sh", "for one in 1 2; do curl http://127.0.0.1:8190/api/v1/stat; done"),
        ("sh", 'eval "$(lbflsk completion)"'),
        ("sh", "docker compose -f deploy/absent.yml up"),
        ("sh", "docker compsoe up"),
        ("sh", "kubectl apply -k deploy/kubernetes/absent"),
        ("sh", "helm install lbflask deploy/absent"),
        ("sh", "systemctl start lbflsk"),
        ("sh", "kill -HOP 1"),
        ("sh", "cp absent.toml /etc/lbflask/"),
        ("sh", "echo 'half"),
        ("python", "def f(:"),
        ("python", "from lbflask.hooks import Chnage"),
        ("python", "import absent_module"),
        ("pycon", ">>> 1 +"),
        ("pycon", "1"),
        ("yaml", "a: [1"),
        ("ini", "[a\nb = 1"),
        ("ini", "LBFLASK_BAKENDS=http://127.0.0.1:1"),
        ("nginx", "server {\n  listen 80\n}"),
        ("nginx", "server {\n  listen 80;"),
        ("caddyfile", "example.org {"),
        ("haproxy", "bind :80"),
        ("mermaid", "graf TB"),
        ("text", "$ lbflask status"),
        ("text", "pip install 'lbflask[auth]'"),
        ("text", "lbflask statsu [OPTIONS]"),
    ],
)
def test_a_mistake_in_a_block_is_noticed(language: str, text: str) -> None:
    assert problems_of(Block("page.md:1", language, text, ""))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("toml", "[pools.api.health]\ninterval = 5"),
        ("toml", "[[routes]]\nname = 'a'\nmatch = { path = '/' }\nsplit = { a = 50, default = 50 }\nrate_limit = 'r'"),
        ("toml", "[tls]\ncertificate = 'tls/chain.pem'\nkey = 'tls/key.pem'\n[backend_tls]\nca_file = '/etc/ca.pem'"),
        ("ini", "[Service]\nEnvironment=A=1\nEnvironment=B=2"),
        ("ini", "LBFLASK_REDIS_URL=redis://127.0.0.1/0"),
        ("sh", "lbflask drain web1 --wait && ssh web1 reboot   # lbflask's, then \"the machine's"),
        ("sh", "LBFLASK_BACKENDS=http://127.0.0.1:1 lbflask serve --workers 4 -- --pid FILE"),
        ("sh", "cat > a.toml <<'EOF'\nfrobnicate = 1\nEOF\nlbflask status 2>&1 >/dev/null"),
        ("sh", "while sleep 1; do curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8090/health; done"),
        ("console", "$ lbflask add \\\n    http://10.0.0.9:8000\n10.0.0.9:8000 is in pool default, checking"),
        ("sh", "kill -HUP $(cat pid)"),
    ],
)
def test_what_is_right_passes(language: str, text: str) -> None:
    assert problems_of(Block("page.md:1", language, text, "")) == []


@pytest.mark.parametrize(
    "span", ["lbflask drian", "lbflask drain --now", "lbflask config chek", "lbflask serve --wrokers 2"]
)
def test_a_mistake_in_a_code_span_is_noticed(span: str) -> None:
    assert len(problems_of_mention(span)) == 1
