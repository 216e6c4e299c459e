from __future__ import annotations

import pytest

from devtools.examination import Examined, Verdict
from devtools.mutation import SURVIVORS, complaints, main, reasons, report

MODULE = "lbflask/core/part.py"


def one(change: str, verdict: Verdict, function: str = "f") -> Examined:
    return Examined(MODULE, function, change, 1, verdict)


def test_a_reason_is_that_of_the_mutants_before_it() -> None:
    text = f"# Text.\n[{MODULE} f]\na -> b\n[c, d] -> [e]\n= First.\n\n[{MODULE}]\nx -> y\n= Second.\n"
    assert reasons(text) == {
        (MODULE, "f", "a -> b"): "First.",
        (MODULE, "f", "[c, d] -> [e]"): "First.",
        (MODULE, "", "x -> y"): "Second.",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a -> b\n", "line 1"),
        (f"[{MODULE}]\n= reason\n", "line 2"),
        (f"[{MODULE}]\na -> b\n[{MODULE} f]\n", "line 3"),
        (f"[{MODULE}]\na -> b\n", "no reason"),
    ],
)
def test_a_line_out_of_place_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reasons(text)


def test_each_survivor_needs_a_reason() -> None:
    verdicts = [one("a -> b", Verdict.SURVIVED), *[one(f"{n} -> b", Verdict.KILLED) for n in range(9)]]
    assert complaints(verdicts, {(MODULE, "f", "a -> b"): "Reason."}) == []
    assert complaints(verdicts, {}) == [f"no reason: {MODULE}:1 f\n    a -> b"]
    other = {(MODULE, "g", "a -> b"): "Reason."}
    assert len(complaints(verdicts, other)) == 2


def test_a_reason_needs_its_survivor_where_the_module_is_examined() -> None:
    verdicts = [one("a -> b", Verdict.KILLED), one("c -> d", Verdict.TIMED_OUT)]
    explained = {(MODULE, "f", "a -> b"): "Reason.", ("lbflask/core/other.py", "f", "a -> b"): "Reason."}
    assert complaints(verdicts, explained) == [f"does not survive: {MODULE} f\n    a -> b"]


def test_more_than_a_tenth_of_survivors_fails_even_with_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = [one(f"{n} -> b", Verdict.SURVIVED if n < 2 else Verdict.KILLED) for n in range(19)]
    explained = {single.identity: "Reason." for single in verdicts[:2]}
    assert report(verdicts, explained) == 1
    assert "more than 10%" in capsys.readouterr().out
    assert report([*verdicts, one("c -> d", Verdict.KILLED)], explained) == 0
    assert capsys.readouterr().out == "20 mutants: 18 killed, 0 timed out, 2 survived; 10.0% survive\n"


def test_an_unknown_module_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lbflask/proxy/app.py"]) == 2
    assert "lbflask/proxy/app.py is not a module below lbflask/core" in capsys.readouterr().err


def test_the_list_of_the_survivors_is_well_formed() -> None:
    reasons(SURVIVORS.read_text("utf-8"))
