from __future__ import annotations

from typing import Any

import pytest

from lbflask.importers.networks import access_of

ALL = "all"


@pytest.mark.parametrize(
    ("rules", "access"),
    [
        ([], {}),
        ([(True, "10.0.0.0/8")], {}),
        ([(True, "10.0.0.0/8"), (False, ALL)], {"allow": ["10.0.0.0/8"]}),
        ([(False, "192.0.2.1"), (True, ALL)], {"deny": ["192.0.2.1"]}),
        ([(False, ALL)], {"deny": [ALL]}),
        ([(True, "10.1.0.0/16"), (False, "10.0.0.0/8")], {"allow": [ALL, "10.1.0.0/16"], "deny": ["10.0.0.0/8"]}),
        # the first entry decides: the second one, which it covers, would be more specific
        ([(False, "10.0.0.0/8"), (True, "10.1.0.0/16")], {"deny": ["10.0.0.0/8"]}),
        ([(True, "2001:db8::/32"), (False, "2001:db8:1::/48"), (False, ALL)], {"allow": ["2001:db8::/32"]}),
        ([(True, "10.0.0.1/8"), (False, ALL)], {"allow": ["10.0.0.0/8"]}),
        ([(False, "file:deny.txt"), (True, "unix"), (False, ALL)], {"allow": ["unix"], "deny": ["file:deny.txt"]}),
        ([(True, ALL), (False, ALL)], {}),
    ],
)
def test_the_first_entry_that_has_an_address_decides(rules: list[tuple[bool, str]], access: dict[str, Any]) -> None:
    assert access_of(rules) == access
