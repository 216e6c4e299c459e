"""The table of docs/migrating.md: each setting of lbflask in it exists with its value, and each gap has a way out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from devtools.environment import ROOT
from lbflask.core.http.value_templates import VARIABLES
from tests.docs.configurations import BACKENDS, completed, problem_of
from tests.docs.settings import is_setting

PAGE = ROOT / "docs" / "migrating.md"
PROXIES = ["nginx", "HAProxy", "Traefik", "Caddy", "lbflask"]
#: Values of settings, and what is no setting, in cells of the last column.
OTHERS = frozenset({"dns-01", "tcp", "tcp://", "alias", "sync", "Client-Cert", "${VAR}", "/apix", "/metrics"})
_ACTIONS = frozenset({"pool", "split", "respond", "redirect", "files"})
_TCP = [{"url": "tcp://127.0.0.1:5432"}]


def rows_of(text: str) -> list[list[str]]:
    """The cells of the rows, without those that begin a group."""
    section = text.partition("\n## Line by line\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert rows[0] == PROXIES
    return [row for row in rows[2:] if not row[0].startswith("**")]


ROWS = rows_of(PAGE.read_text("utf-8"))


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def contexts(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Configurations in which the values are those of the top level, a route, a listener, a pool, or a backend."""
    tls = {"certificate": "shop.pem", "key": "shop.key"}
    limits = [
        {"match": {"path": "/x"}, "pool": "default", "rate_limit": name} for name in values.get("rate_limits", ())
    ]
    top = dict(values)
    if isinstance(top.get("tls"), dict):
        top["tls"] = {**({} if "certificates" in top["tls"] else tls), **top["tls"]}
    yield {**top, **({"routes": limits} if limits else {})}
    action = {} if _ACTIONS & values.keys() else {"pool": "default"}
    asking = {"bind": "0.0.0.0:8443", "tls": True, "client_certificates": "optional", "client_ca": "ca.pem"}
    listeners = {"listeners": [asking], "tls": tls} if "client_certificate" in values else {}
    yield {"routes": [{"match": {"path": "/x"}, **action, **values}], **listeners}
    yield {"routes": [{**action, **values}]}
    passed = (
        {values.get("tcp"), *(values.get("sni") or {}).values()} - {None} if "tcp" in values or "sni" in values else ()
    )
    more: dict[str, Any] = {} if passed or "redirect" in values else {"tls": True}
    more |= {"client_ca": "ca.pem"} if "client_certificates" in values else {}
    yield {
        "listeners": [{"bind": "0.0.0.0:443", "tls": True}, {"bind": "0.0.0.0:8443", **more, **values}],
        "tls": tls,
        "pools": {name: {"backends": _TCP} for name in passed},
        "backends": BACKENDS,
    }
    yield {"pools": {"app": {"backends": BACKENDS, **values}}, "routes": [{"pool": "app"}]}
    yield {"backends": [{"url": BACKENDS[0], **values}, "http://127.0.0.1:8002"]}


def problem_of_span(span: str) -> str:
    """What is wrong with a code span of the last column; commands have a test of their own."""
    if span in OTHERS or span.startswith("lbflask "):
        return ""
    if found := re.fullmatch(r"\{([a-z_.]+)\}", span):
        return "" if found[1] in VARIABLES else f"there is no variable {span}"
    if " = " in span:
        try:
            values = tomllib.loads(span)
        except tomllib.TOMLDecodeError as error:
            return str(error)
        found_problems = [problem_of(completed(one)) for one in contexts(values)]
        return "" if "" in found_problems else "; ".join(found_problems)
    return "" if is_setting(span.strip("[]")) else "there is no such setting"


def test_the_table_has_all_topics() -> None:
    assert len(ROWS) > 90
    assert [row for row in ROWS if len(row) != len(PROXIES)] == []


@pytest.mark.parametrize("cell", [row[-1] for row in ROWS], ids=lambda cell: cell[:40])
def test_a_setting_of_the_last_column_exists(cell: str) -> None:
    assert {span: problem for span in spans(cell) if (problem := problem_of_span(span))} == {}


@pytest.mark.parametrize("cell", [row[-1] for row in ROWS], ids=lambda cell: cell[:40])
def test_a_row_has_a_setting_or_states_what_to_do_instead(cell: str) -> None:
    assert spans(cell) or re.fullmatch(r"always.*", cell) or re.fullmatch(r"not here: .{10,}", cell)


@pytest.mark.parametrize(
    "span", ["tls.minimal", 'tls.minimum = "TLSv1.4"', "{clients}", "[pools.NAME.bakends]", "tls = 3"]
)
def test_a_mistake_in_a_setting_is_noticed(span: str) -> None:
    assert problem_of_span(span)
