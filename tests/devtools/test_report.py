from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from devtools.report import (
    Check,
    between_markers,
    machine_line,
    number,
    options,
    percentile,
    ratio,
    short_version,
    table,
    write,
)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    assert percentile([*range(100, 0, -1)], percent) == expected


def test_a_percentile_of_one_value_is_that_value_and_of_none_is_not_a_number() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))


def test_a_ratio_to_nothing_is_not_a_number() -> None:
    assert ratio(3, 2) == 1.5
    assert math.isnan(ratio(3, 0))


@pytest.mark.parametrize(
    ("measured", "at_least", "met"),
    [(1.9, False, True), (2.0, False, True), (2.1, False, False), (1.9, True, False), (2.0, True, True)],
)
def test_a_target_is_a_bound_that_belongs_to_it(measured: float, at_least: bool, met: bool) -> None:
    assert Check("x", measured, 2.0, at_least=at_least).met is met


@pytest.mark.parametrize("at_least", [False, True])
def test_what_could_not_be_measured_meets_no_target(at_least: bool) -> None:
    check = Check("x", math.nan, 2.0, "s", at_least)
    assert not check.met
    assert check.row() == ["x", "none s", ">= 2 s" if at_least else "<= 2 s", "FAIL"]


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (100_000, "100,000"), (1234.5, "1,234"), (0.123456, "0.123"), (2.0, "2")]
)
def test_a_number_has_three_digits_or_all_the_whole_ones(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_has_columns_as_wide_as_their_widest_cell() -> None:
    assert table(["", "req/s"], [["lbflask", "1"], ["x", "20,000"]]).splitlines() == [
        "|         | req/s  |",
        "| ------- | ------ |",
        "| lbflask | 1      |",
        "| x       | 20,000 |",
    ]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("go version go1.19.8 linux/amd64", "1.19.8"),
        ("HAProxy version 2.6.12-1+deb12u1 2023/12/16", "2.6.12"),
        ("", ""),
    ],
)
def test_the_version_is_found_in_the_output_of_a_program(said: str, version: str) -> None:
    assert short_version(said) == version


def test_what_is_not_installed_is_not_named() -> None:
    about = {"cpu": "Some CPU", "cores": "2", "python": "3.13.1", "go": "", "nginx": "1.22.1"}
    assert machine_line(about) == "Measured on 2 cores of Some CPU, with python 3.13.1, nginx 1.22.1."


def test_a_new_table_replaces_what_is_between_the_markers_and_nothing_else() -> None:
    page = "# A\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nB\n"
    once = between_markers(page, "\nnew\n\n")
    assert once == "# A\n\n<!-- bench -->\nnew\n<!-- /bench -->\n\nB\n"
    assert between_markers(once, "new") == once


@pytest.mark.parametrize("page", ["", "<!-- bench -->", "<!-- /bench -->", "<!-- /bench --><!-- bench -->"])
def test_a_page_without_both_markers_is_left_alone(page: str) -> None:
    with pytest.raises(ValueError, match="lacks the markers"):
        between_markers(page, "new")


def test_the_readme_has_the_markers() -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert "new" in between_markers(page, "new")


def test_the_file_has_null_where_there_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "results" / "x.json"
    write(path, {"a": [1.5, math.nan], "b": {"c": math.inf}})
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": {"c": None}}


def test_each_benchmark_writes_a_separate_file_by_default() -> None:
    parser = options("doc", "bodies")
    assert parser.parse_args([]).json.parts[-3:] == ("benchmarks", "results", "bodies.json")
    assert parser.parse_args(["--json", "x.json", "--quick"]).json == Path("x.json")
