"""W3C Trace Context, as the recommendation has it."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.trace_context import Context, Trace, begun, parsed
from tests.support.changes import property_test

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("value", "context"),
    [
        (VALID, Context(TRACE, SPAN, True)),
        (VALID[:-2] + "00", Context(TRACE, SPAN, False)),
        (VALID[:-2] + "ff", Context(TRACE, SPAN, True)),
        (VALID[:-2] + "02", Context(TRACE, SPAN, False)),
        (f" {VALID}\t", Context(TRACE, SPAN, True)),
        ("01" + VALID[2:], Context(TRACE, SPAN, True)),
        ("cc" + VALID[2:] + "-what-comes-later", Context(TRACE, SPAN, True)),
        (VALID + "-x", None),
        ("cc" + VALID[2:] + ".x", None),
        ("ff" + VALID[2:], None),
        (VALID.upper(), None),
        (VALID[:-1], None),
        (VALID.replace("-", "_"), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", None),
        ("", None),
    ],
)
def test_a_traceparent_is_understood_or_ignored(value: str, context: Context | None) -> None:
    assert parsed(value) == context


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_told_is_what_is_understood(trace: int, span: int, sampled: bool) -> None:
    context = Context(trace, span, sampled)
    assert parsed(context.as_traceparent()) == context


def begin(*fields: tuple[str, str], sampled: bool = True) -> Trace | None:
    spans = count(1)
    return begun(list(fields), lambda: 7, lambda: next(spans), lambda _: sampled)


def test_each_attempt_is_a_child_of_our_span_in_the_trace_of_who_asked() -> None:
    trace = begin(("A", "a"), ("TraceParent", VALID), ("tracestate", "x=1"), ("tracestate", "y=2"))
    assert trace is not None
    assert (trace.context, trace.parent) == (Context(TRACE, 1, True), Context(TRACE, SPAN, True))
    rest = [("A", "a"), ("tracestate", "x=1"), ("tracestate", "y=2")]
    for span in (2, 3):
        assert trace.attempt() == [*rest, ("traceparent", Context(TRACE, span, True).as_traceparent())]
    assert trace.attempts == [2, 3]


@pytest.mark.parametrize("parents", [[], ["nonsense"], [VALID, VALID]])
@pytest.mark.parametrize("sampled", [True, False])
def test_without_a_valid_parent_a_trace_begins_here_and_no_foreign_state_goes_on(
    parents: list[str], sampled: bool
) -> None:
    trace = begin(("TraceState", "x=1"), *(("traceparent", value) for value in parents), sampled=sampled)
    assert trace is not None
    assert (trace.context, trace.parent) == (Context(7, 1, sampled), None)
    assert trace.attempt() == [("traceparent", Context(7, 2, sampled).as_traceparent())]


def test_a_parent_that_is_not_sampled_is_left_to_itself() -> None:
    assert begin(("traceparent", VALID[:-2] + "00"), ("tracestate", "x=1")) is None


test_any_context_is_read_as_it_is_written_or_ignored = property_test("trace")
