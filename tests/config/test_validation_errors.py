"""What is wrong with a configuration, as one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbflask.config.load import ConfigError, load
from tests.support.changes import property_test

test_any_file_is_a_configuration_or_rejected_in_one_line = property_test("configuration")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[health]\nintervall = 1", "3: there is no setting 'health.intervall' (its value is 1); is it 'interval'?"),
        ("[timeout]\nconnect = 1", "2: there is no setting 'timeout' (its value is {'connect': 1}); is it 'timeouts'?"),
        ("[retries]\nx = 1", "'retries.x' (its value is 1); there are attempts, budget_percent, hedge, statuses"),
        ("[[route]]\npool = 'default'", "is it 'routes'?"),
        ("[limits]\nfields = 'many'", "3: limits.fields = 'many': must be a whole number"),
        ("[limits]\nfields = 1.5", "must be a whole number"),
        ("[retries]\nbudget_percent = 'all'", "must be a number"),
        ("metrics = 'perhaps'", "2: metrics = 'perhaps': must be true or false"),
        ("via = 5", "2: via = 5: must be a text in quotes"),
        ("timeouts = 5", "2: timeouts = 5: must be a table"),
        ("pools = 5", "2: pools = 5: must be a table"),
        ("bind = 80", "2: bind[0]: must be host:port, such as '0.0.0.0:80', or unix:/path"),
        ("[listeners.a]\nbind = 'a:1'", "must be a list of tables: write [[listeners]]"),
        ("[tls]\ncertificate = 'a.pem'", "2: tls.key"),
    ],
)
def test_a_mistake_is_named_with_what_could_be_meant(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(f"backends = ['http://a:1']\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load({"LBFLASK_CONFIG": str(file)})
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")


def test_a_variable_is_named_with_what_could_be_meant() -> None:
    with pytest.raises(ConfigError, match=r"LBFLASK_HEALTH__INTERVALL: .*; is it 'interval'\?"):
        load({"LBFLASK_CONFIG": "/dev/null", "LBFLASK_BACKENDS": "http://a:1", "LBFLASK_HEALTH__INTERVALL": "1"})
