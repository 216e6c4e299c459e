"""The OpenAPI 3.1 document, made of the same table as the routes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

import lbflask
from lbflask.control.api.models import Model, Problem
from lbflask.control.api.operation import Operation
from lbflask.core.http.reason_phrases import reason_phrase

PREFIX = "/api/v1"

_PARAMETERS = {
    "pool": ("The pool; `default` is the top level of the file.", {"type": "string", "minLength": 1}),
    "backend": ("The backend, by its id: its name, or `host:port`.", {"type": "string", "minLength": 1}),
}
_WORDS = {
    400: "The request can't be understood.",
    401: "No token, or one that is none.",
    403: "The token may only read, or a page of another site has sent the request.",
    404: "There is no such pool or backend.",
    405: "The path has no such method.",
    409: "It does not go together with what is there.",
    412: "Operators have set something else meanwhile.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    422: "A value is not allowed.",
    503: "The store is out of reach, or there are too many streams: nothing was changed.",
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document as JSON has it."""
    told: set[type[Model]] = {one.answer for one in operations if one.answer is not None} | {Problem}
    taken: set[type[Model]] = {one.body for one in operations if one.body is not None}
    _, schemas = models_json_schema(
        [*((model, "serialization") for model in told), *((model, "validation") for model in taken)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(_braces(one.path), {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lbflask admin API",
            "version": lbflask.__version__,
            "description": "See and steer a fleet of balancers. Times are in seconds, moments in seconds since the "
            "epoch by the clock of the store.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}, {"session": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `[admin]`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "lbflask_session"},
            },
        },
    }


def text(operations: Sequence[Operation]) -> str:
    """The document, as it is served and checked in."""
    return json.dumps(document(operations), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _operation(one: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": one.name, "summary": one.summary, "parameters": _parameters(one)}
    if one.role is not None:
        told["description"] = f"For tokens with the role `{one.role.value}`."
    if one.body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(one.body)}}}
    answer: dict[str, Any] = {"description": reason_phrase(one.status)}
    if one.answer is not None:
        answer["content"] = {one.media_type: {"schema": _ref(one.answer)}}
    elif one.status != 204:
        answer["content"] = {one.media_type: {"schema": {"type": "string" if "event" in one.media_type else "object"}}}
    if one.changes:
        answer["headers"] = {"ETag": {"description": "Of what operators have set now.", "schema": {"type": "string"}}}
    later = {202: {**answer, "description": "What was asked for is under way."}} if one.later else {}
    answers = {one.status: answer, **later, **{status: _refusal(status) for status in _refusals(one)}}
    told["responses"] = {str(status): answers[status] for status in sorted(answers)}
    return told


def _refusals(one: Operation) -> set[int]:
    found = {403, *one.problems}
    if one.role is not None:
        found.add(401)
    if one.query is not None:
        found.add(400)
    if one.body is not None:
        found |= {400, 413, 415, 422}
    if one.changes:
        found |= {400, 409, 412, 503}
    if "<" in one.path:
        found.add(404)
    return found


def _parameters(one: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in re.findall(r"<(\w+)>", one.path):
        words, schema = _PARAMETERS[name]
        found.append({"name": name, "in": "path", "required": True, "description": words, "schema": schema})
    if one.query is not None:
        for name, values in one.query.model_json_schema()["properties"].items():
            words = values.pop("description", "")
            found.append({"name": name, "in": "query", "required": False, "description": words, "schema": values})
    if one.changes:
        words = "What operators have set must still be this, as `ETag` told; `*` and none change whatever holds."
        found.append({"name": "If-Match", "in": "header", "required": False, "description": words,
                      "schema": {"type": "string", "pattern": r'^("[0-9a-f]{16}"|\*)$'}})  # fmt: skip
    return found


def _refusal(status: int) -> dict[str, Any]:
    return {"description": _WORDS[status], "content": {"application/problem+json": {"schema": _ref(Problem)}}}


def _ref(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _braces(path: str) -> str:
    return re.sub(r"<(\w+)>", r"{\1}", path)
