"""Texts of users and of logs: secrets in them, log formats, regular expressions, durations, redirections."""

from __future__ import annotations

import json
import re

import click

from lbflask.cli.duration import Duration
from lbflask.core import redaction
from lbflask.core.bounded_expression import BadExpression, BoundedExpression
from lbflask.core.distinguished_names import line_of
from lbflask.core.http.direct_response import Redirect
from lbflask.core.http.rewrites import ExpressionRewrite, unknown_groups
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.linear_expression import BadLinearExpression, LinearExpression
from lbflask.core.log_fields import parsed
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from lbflask.telemetry.log_formats import JSON, TEXT, format_of
from lbflask.telemetry.redaction import masked_message

#: A secret that no masked text may show.
SECRET = "sEcReTvAlUe123"
#: Seconds of a search, and characters of an expression and of what it searches.
SEARCH_SECONDS, EXPRESSION, SEARCHED = 0.02, 60, 2000
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def secrets(text: str) -> None:
    """A secret behind any text is masked: as a parameter, as user information, and as a field of a message."""
    for masked in (redaction.masked_target, redaction.masked_parameters, redaction.masked_url, masked_message):
        masked(text)
    redaction.is_secret(text)
    redaction.is_secret_field(text, text)
    assert SECRET not in redaction.masked_target(f"/{text}?token={SECRET}")
    assert SECRET not in redaction.masked_target(f"/a?{text}&token={SECRET}")
    assert SECRET not in redaction.masked_url(f"https://user:{SECRET}@host/?{text}")
    assert SECRET not in masked_message(f"{text}\nAuthorization: Basic {SECRET}")
    assert SECRET not in masked_message(f"{text} /a?api_key={SECRET}")


def event(text: str) -> RequestEvent:
    """A request with the text in each place that a client or a backend determines."""
    return RequestEvent(
        client="192.0.2.1",
        method="GET",
        target=text,
        protocol="HTTP/1.1",
        pool="default",
        status=200,
        sent=1,
        seconds=0.5,
        attempts=[AttemptEvent("web-1", 0.1)],
        request_id="id-1",
        cut=text,
    )


def log_line(text: str) -> None:
    """A request is one line of printable ASCII, and JSON gives back what was logged."""
    for form in (TEXT, JSON):
        line = form.line(event(text), 1_700_000_000.5)
        assert line.endswith("\n")
        assert line[:-1].isascii()
        assert line[:-1].isprintable()
    values = json.loads(line)
    assert values["target"] == redaction.masked_target(text)
    assert values.get("cut", "") == text


def log_format(text: str) -> None:
    """A format: rejected with a reason, or a format of lines."""
    try:
        form = format_of(text)
    except ValueError as error:
        assert str(error)
        return
    line = form.line(event("/a\n"), 1_700_000_000.5)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    if "{" not in text + "}":
        assert [name for _, name in parsed(text)] == [""]


def expression(text: str) -> None:
    """A regular expression and a text, in two lines: rejected, or a search that ends."""
    pattern, _, searched = text.partition("\n")
    try:
        compiled = BoundedExpression(pattern[:EXPRESSION], SEARCH_SECONDS)
    except BadExpression as error:
        assert str(error)
        return
    try:
        assert compiled.search(searched[:SEARCHED]) in (True, False)
    except TimeoutError:
        pass
    assert compiled == BoundedExpression(pattern[:EXPRESSION])


def linear_expression(text: str) -> None:
    """A regular expression and a text, in two lines: rejected, or a search."""
    pattern, _, searched = text.partition("\n")
    try:
        compiled = LinearExpression(pattern)
    except BadLinearExpression as error:
        assert str(error)
        return
    groups = compiled.groups_of(searched)
    assert compiled.search(searched) is (groups is not None)
    assert groups is None or (groups.keys() == compiled.groups and groups["0"] in searched)


def rewrite(text: str) -> None:
    """An expression, a new path and a target, in three lines: the result is a path with the query of the target."""
    pattern, _, rest = text.partition("\n")
    to, _, target = rest.partition("\n")
    try:
        expression = LinearExpression(pattern)
    except BadLinearExpression:
        return
    if unknown_groups(to, expression) or not to.startswith("/") or "?" in to or not target.startswith("/"):
        return
    path, mark, query = ExpressionRewrite(expression, to).of(target).partition("?")
    assert path.startswith("/")
    assert mark + query == "".join(target.partition("?")[1:])


def duration(text: str) -> None:
    """Seconds within their bounds, or a usage error."""
    form = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    seconds = int(form[1]) * _SECONDS[form[2]] if form else 0
    try:
        found = Duration(3600).convert(text, None, None)
    except click.BadParameter:
        assert not 1 <= seconds <= 3600
    else:
        assert found == seconds


def redirect(text: str) -> None:
    """A template, a host and a target, in three lines: rejected, or a URL of one line that begins as the template."""
    to, _, rest = text.partition("\n")
    host, _, target = rest.partition("\n")
    try:
        made = Redirect(308, to)
    except ValueError as error:
        assert str(error)
        return
    fields = [("X-A", text)]
    location = made.location(RequestFacts(text, text, host, text, target, text, fields))
    begin, *others = (literal for literal, _ in made.template.parts)
    assert location.startswith(begin)
    assert made.template.names or location == begin
    rest = location[len(begin) :]
    assert all(sign.isprintable() or any(sign in literal for literal in others) for sign in rest)


def distinguished_name(text: str) -> None:
    """Attributes as lines `type=value`: a name of one line of printable ASCII."""
    pairs = [line.partition("=") for line in text.split("\n")]
    line = line_of([[("commonName" if kind == "CN" else "emailAddress", value)] for kind, _, value in pairs])
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith(("CN=", "emailAddress="))
