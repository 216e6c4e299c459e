from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import corpus
from fuzz.targets import TARGETS

ALL = [(name, file) for name in TARGETS for file, _ in corpus.inputs(name)]


@pytest.mark.parametrize(("name", "file"), ALL, ids=[f"{name}/{file}" for name, file in ALL])
def test_the_property_holds_for_each_input(name: str, file: str) -> None:
    """No fuzzer is needed. An input that once broke a property stays."""
    TARGETS[name].check(dict(corpus.inputs(name))[file])


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_are_some_small_and_different(name: str) -> None:
    contents = [data for _, data in corpus.inputs(name)]
    assert 3 <= len(contents) <= corpus.MOST_INPUTS
    assert len(set(contents)) == len(contents)
    assert max(map(len, contents)) <= corpus.MOST_BYTES


def test_inputs_that_reach_new_branches_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, corpora = tmp_path / "found", tmp_path / "corpora"
    (corpora / "duration").mkdir(parents=True)
    (corpora / "duration" / "junk").write_bytes(b"junk")
    found.mkdir()
    for number, data in enumerate([b"junk again", b"90s", b"91s", b"9" * (corpus.MOST_BYTES + 1)]):
        (found / str(number)).write_bytes(data)
    monkeypatch.setattr(corpus, "CORPORA", corpora)
    assert corpus.grow("duration", found) == 1
    assert sorted(data for _, data in corpus.inputs("duration")) == [b"90s", b"junk"]
