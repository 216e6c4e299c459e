from __future__ import annotations

import pytest
from pydantic import ValidationError

from lbflask.config.schema import Config

BACKENDS = ["http://127.0.0.1:8001"]
ROUTE = {"name": "all", "pool": "default"}


def complaint(**settings: object) -> str:
    try:
        Config.model_validate({"backends": BACKENDS, **settings})
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("settings", "key", "needed"),
    [
        ({"compression": {"min_length": 200}}, "compression.min_length", "encodings"),
        ({"compression": {"types": ["text/css"]}}, "compression.types", "encodings"),
        ({"routes": [{**ROUTE, "compression": {"gzip_level": 9}}]}, "routes[0].compression.gzip_level", "encodings"),
        (
            {"pools": {"a": {"backends": BACKENDS, "cors": {"credentials": True}}}},
            "pools.a.cors.credentials",
            "origins",
        ),
        ({"cors": {"methods": ["PUT"]}}, "cors.methods", "origins"),
        ({"buffering": {"responses": "1MiB", "spool_requests": "1GiB"}}, "buffering.spool_requests", "requests"),
        ({"buffering": {"memory": "1GiB"}}, "buffering.memory", "responses"),
        ({"buffering": {"rate_grace": 9}}, "buffering.rate_grace", "least_request_rate"),
    ],
)
def test_a_setting_that_has_no_effect_anywhere_is_refused(settings: dict[str, object], key: str, needed: str) -> None:
    if "pools" in settings:
        settings = {**settings, "routes": [{**ROUTE, "pool": "a"}]}
    message = complaint(**settings)
    assert f"{key}: " in message
    assert f"{needed} = " in message


@pytest.mark.parametrize(
    "settings",
    [
        {"compression": {"encodings": [], "min_length": 200}},
        {"compression": {"min_length": 200}, "routes": [{**ROUTE, "compression": {"encodings": ["gzip"]}}]},
        {"compression": {"encodings": ["gzip"]}, "routes": [{**ROUTE, "compression": {"gzip_level": 9}}]},
        {"compression": {"min_length": 1024}},
        {"buffering": {"responses": 0, "memory": "1GiB"}},
        {"cors": {"origins": ["*"], "max_age": 60}},
    ],
)
def test_one_that_has_or_that_is_switched_off_in_so_many_words_is_accepted(settings: dict[str, object]) -> None:
    assert complaint(**settings) == ""
