"""Variables of the environment in the values of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.config.load import ConfigError, load
from lbflask.config.variables import UnusableVariable, expanded
from tests.support.changes import property_test

test_any_file_is_a_configuration_or_rejected_in_one_line = property_test("configuration")

ENVIRON = {"PORT": "8000", "EMPTY": "", "HOST": "app"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://${HOST}:${PORT}", "http://app:8000"),
        ("${GONE:-8080}", "8080"),
        ("${PORT:-8080}", "8000"),
        ("${EMPTY:-8080}", "8080"),
        ("${EMPTY}", ""),
        ("${GONE:-}", ""),
        ("${GONE:-a:-b}", "a:-b"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$HOST ${HOST}$", "$HOST app$"),
        ("{HOST} $ { }", "{HOST} $ { }"),
        ("${", "${"),
    ],
)
def test_references_are_replaced(text: str, found: str) -> None:
    assert expanded({"a": [{"b": text}]}, ENVIRON) == {"a": [{"b": found}]}


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A B}", "${A-b}", "${A:=b}", "${A\n}"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UnusableVariable, match=r"write \$\{NAME\} or \$\{NAME:-default\}") as caught:
        expanded({"a": [1, text]}, ENVIRON)
    assert caught.value.steps == ("a", 1)


@given(st.text(max_size=30))
def test_a_text_without_references_is_as_it_was(text: str) -> None:
    if "${" not in text:
        assert expanded(text, {}) == text


@given(st.text(max_size=10), st.text(max_size=10))
def test_a_value_is_never_expanded_again(value: str, after: str) -> None:
    assert expanded("${A}" + after.replace("$", ""), {"A": value}) == value + after.replace("$", "")


def test_a_file_takes_them_at_any_depth_and_lists_and_numbers_from_them(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(
        "backends = '${APPS}'\nbind = '0.0.0.0:${PORT:-8080}'\n"
        "[timeouts]\nconnect = '${CONNECT}'\n"
        "[[routes]]\nname = 'a'\nmatch = { host = '${NAMES}' }\npool = 'default'\n"
        "[[routes]]\nname = 'b'\nrespond = { body = '$${x}' }\n"
    )
    environ = {"APPS": "http://a:1,http://b:2", "CONNECT": "2", "NAMES": "x.example,y.example"}
    config = load({"LBFLASK_CONFIG": str(file), **environ})
    assert [backend.url for backend in config.backends] == ["http://a:1", "http://b:2"]
    assert config.bind == ("0.0.0.0:8080",)
    assert config.timeouts.connect == 2
    assert config.routes[0].match.host == ("x.example", "y.example")
    assert config.routes[1].respond is not None
    assert config.routes[1].respond.body == "${x}"


def test_one_that_is_not_set_is_named_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(
        "backends = ['http://a:1']\n[[routes]]\nname = 'a'\nmatch = { host = '${NAMES}' }\npool = 'default'\n"
    )
    with pytest.raises(ConfigError) as caught:
        load({"LBFLASK_CONFIG": str(file)})
    reason = "the variable NAMES is not set; ${NAMES:-…} gives a default"
    assert str(caught.value) == f"{file}:4: routes[0].match.host: {reason}"
