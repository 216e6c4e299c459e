from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import corpus
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_property_holds_for_each_input(name: str) -> None:
    """No fuzzer is needed. An input that once broke a property stays."""
    broken = {}
    for file, data in corpus.inputs(name):
        try:
            TARGETS[name].check(data)
        except Exception as error:
            broken[file] = repr(error)
    assert broken == {}


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
