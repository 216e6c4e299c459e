"""locks/ pins all that pyproject.toml names, with hashes and without an index."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from devtools.locks import LOCKS, LOWEST, NAMED, pins

ALL = [*NAMED, "lowest"]


def named(*names: str) -> list[tuple[str, Requirement]]:
    """What pyproject.toml names for each of these locks, with its pin there; `base` pins for all of them."""
    return [(text, pin) for name in names for text in NAMED[name] for pin in pins_of(text, name)]


def pins_of(text: str, lock: str) -> list[Requirement]:
    wanted = canonicalize_name(Requirement(text).name)
    found = [pin for name in {lock, "base"} for pin in pins(name) if canonicalize_name(pin.name) == wanted]
    assert found, f"{text} has no pin in locks/{lock}.txt: make lock"
    return found


def version(pin: Requirement) -> Version:
    (only,) = pin.specifier
    assert only.operator == "=="
    return Version(only.version)


def test_each_file_is_that_of_an_extra() -> None:
    assert sorted(file.stem for file in LOCKS.iterdir()) == sorted(ALL)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_is_pinned_to_a_version_that_is_allowed(name: str) -> None:
    assert [text for text, pin in named(name) if version(pin) not in Requirement(text).specifier] == []


@pytest.mark.parametrize("name", ALL)
def test_each_pin_has_its_hashes_and_no_index_is_named(name: str) -> None:
    assert [str(pin) for pin, hashes in pins(name).items() if not hashes] == []
    text = (LOCKS / f"{name}.txt").read_text("utf-8")
    assert "://" not in text
    assert "-url" not in text


def test_the_files_agree_on_each_version() -> None:
    versions: dict[str, set[Version]] = {}
    for pin in (pin for name in NAMED for pin in pins(name)):
        versions.setdefault(pin.name, set()).add(version(pin))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_lowest_versions_are_the_bounds_of_pyproject() -> None:
    lowest = {canonicalize_name(pin.name): version(pin) for pin in pins("lowest")}
    bounds = {
        text: Version(only.version)
        for name in ("base", *LOWEST)
        for text in NAMED[name]
        for only in Requirement(text).specifier
    }
    assert len(bounds) > 30
    assert {text: low for text, low in bounds.items() if lowest[canonicalize_name(Requirement(text).name)] != low} == {}
