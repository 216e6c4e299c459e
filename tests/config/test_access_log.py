"""The settings of the access log."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.core.log_filters import LogFilter


def loaded(directory: Path, text: str, **environ: str) -> Config:
    file = directory / "lbflask.toml"
    file.write_text(f'backends = ["http://127.0.0.1:1"]\n{text}\n')
    return load({"LBFLASK_CONFIG": str(file), **environ})


def test_without_a_filter_all_requests_are_logged(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").access_log_filter.to_model() is None


def test_a_filter_has_statuses_times_and_paths(tmp_path: Path) -> None:
    text = 'status = [404, "5xx"], slower_than = "500ms", path = ["/api/", "/"], except_path = "/live"'
    assert loaded(tmp_path, f"access_log_filter = {{ {text} }}").access_log_filter.to_model() == LogFilter(
        frozenset({404, *range(500, 600)}), 0.5, ("/api", ""), ("/live",)
    )


def test_the_environment_sets_it_too(tmp_path: Path) -> None:
    environ = {"LBFLASK_ACCESS_LOG_FILTER__STATUS": "404,5xx", "LBFLASK_ACCESS_LOG_FILTER__SLOWER_THAN": "2s"}
    found = loaded(tmp_path, "", **environ).access_log_filter
    assert (found.status, found.slower_than) == (("404", "5xx"), 2.0)


def test_fields_are_named_in_json_only(tmp_path: Path) -> None:
    fields = 'access_log_fields = { request = ["User-Agent"], response = ["X-Cache"] }'
    found = loaded(tmp_path, f'access_log_format = "json"\n{fields}').access_log_fields
    assert (found.request, found.response) == (("User-Agent",), ("X-Cache",))
    with pytest.raises(ConfigError, match=r"a custom line has \{header\.User-Agent\}"):
        loaded(tmp_path, fields)
    with pytest.raises(ConfigError, match=r"a custom line has \{response_header\.X-Cache\}"):
        loaded(tmp_path, 'access_log_fields.response = ["X-Cache"]')


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Set-Cookie", "Proxy-Authorization", "X-Api-Key", "a b"])
@pytest.mark.parametrize("key", ["request", "response"])
def test_no_field_with_secrets_is_logged(tmp_path: Path, key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"access_log_fields.{key}"):
        loaded(tmp_path, f'access_log_format = "json"\naccess_log_fields.{key} = ["{name}"]')
