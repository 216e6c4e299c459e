"""The API keeps to its own document: no answer that is not in it, whatever is asked, and no error of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.control.servers import ALICE, GRAFANA, TOKENS, UP, Counter

COUNTER = Counter(admin={"tokens": TOKENS})
COUNTER.check(**{"10.0.0.1_80": UP, "two": UP})
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def through_the_admin_listener(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["lbflask.admin"] = True
    return COUNTER.app(environ, start_response)


API = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", through_the_admin_listener)
WHOLE = API.exclude(path_regex="stream$")
FEW = settings(
    max_examples=7,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)


@WHOLE.parametrize()
@FEW
def test_an_operator_gets_no_answer_that_is_not_documented(case: schemathesis.Case) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {ALICE}", "Host": "127.0.0.1"}, checks=[*CHECKS, negative_data_rejection]
    )


@WHOLE.parametrize()
@FEW
def test_nor_does_one_who_asks_for_what_is_there(case: schemathesis.Case) -> None:
    names = iter(["default", "two" if len(str(case.body)) % 2 else "10.0.0.1:80"])
    case.path_parameters = {name: next(names) for name in case.path_parameters}
    case.call_and_validate(headers={"Authorization": f"Bearer {ALICE}", "Host": "127.0.0.1"}, checks=CHECKS)


@WHOLE.parametrize()
@settings(FEW, max_examples=2)
def test_nor_does_a_reader_who_changes_nothing(case: schemathesis.Case) -> None:
    before = COUNTER.overrides()
    case.call_and_validate(headers={"Authorization": f"Bearer {GRAFANA}", "Host": "127.0.0.1"}, checks=CHECKS)
    assert COUNTER.overrides() == before
