from __future__ import annotations

import errno

import pytest

from lbflask.core import failure_causes
from lbflask.core.failure_causes import FailureCause


def test_each_cause_has_a_value_of_its_own_which_is_its_record() -> None:
    assert len({cause.value for cause in FailureCause}) == len(FailureCause)
    assert {failure_causes.recorded(cause.value) for cause in FailureCause} == set(FailureCause)


@pytest.mark.parametrize("value", ["weather", None, 3])
def test_a_cause_of_a_later_version_is_unknown(value: object) -> None:
    assert failure_causes.recorded(value) is FailureCause.UNKNOWN


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ECONNREFUSED, FailureCause.REFUSED),
        (errno.EHOSTUNREACH, FailureCause.NO_ROUTE),
        (errno.EMFILE, FailureCause.SHORTAGE),
        (errno.EBADF, FailureCause.UNKNOWN),
        (None, FailureCause.UNKNOWN),
    ],
)
def test_the_number_of_an_error_has_its_cause(number: int | None, cause: FailureCause) -> None:
    assert failure_causes.of_number(number) is cause


def test_a_certificate_that_is_refused_for_a_rare_reason_is_still_a_certificate() -> None:
    assert failure_causes.of_verification(10) is FailureCause.CERTIFICATE_EXPIRED
    assert failure_causes.of_verification(23) is FailureCause.CERTIFICATE  # revoked


def test_a_refusal_has_the_same_cause_by_its_code_and_by_the_name_in_redis_py() -> None:
    assert failure_causes.of_refusal("READONLY") is failure_causes.of_refusal("ReadOnlyError") is FailureCause.READ_ONLY
    assert failure_causes.of_refusal("WRONGTYPE") is FailureCause.UNKNOWN
