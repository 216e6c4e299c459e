"""docs/dependencies.md lists the licence of all that is installed to run lbflask."""

from __future__ import annotations

from devtools.licences import PAGE, UNTOLD, declared, listed, names, with_table


def test_the_table_has_each_package_with_its_licence() -> None:
    table = listed(PAGE.read_text("utf-8"))
    assert table.keys() == names(), "run: make licences"
    assert [name for name, licence in table.items() if licence == UNTOLD] == []


def test_a_package_that_is_not_installed_keeps_its_licence() -> None:
    page = PAGE.read_text("utf-8")
    assert listed(with_table(page))["async-timeout"] == listed(page)["async-timeout"]
    assert declared("no-such-package") is None
    assert declared("click") == "BSD-3-Clause"
