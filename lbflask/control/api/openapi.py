"""The OpenAPI 3.1 document, from the same table as the routes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

import lbflask
from lbflask.config.attribute_docstrings import attribute_docstrings
from lbflask.control.api.base_model import Model
from lbflask.control.api.models import Problem
from lbflask.control.api.operation import Operation
from lbflask.core.http.reason_phrases import reason_phrase

PREFIX = "/api/v1"

_PARAMETERS = {
    "pool": "The pool; `default` is the top level of the file.",
    "backend": "The backend, by its id: its name, or `host:port`.",
    "version": "The version of a configuration, as instances have it as `config`.",
}
_DESCRIPTIONS = {
    400: "The request is malformed.",
    401: "No token, or an invalid one.",
    403: "The token is read-only, or a page of another site sent the request.",
    404: "No such pool, backend, instance or configuration.",
    409: "The change conflicts with the current state.",
    412: "The override has changed meanwhile.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    422: "A value is not allowed.",
    503: "The store is unreachable, or too many streams are open: nothing was changed.",
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document as a JSON value."""
    answers: set[type[Model]] = {
        Problem,
        *(operation.answer for operation in operations if operation.answer is not None),
    }
    bodies: set[type[Model]] = {operation.body for operation in operations if operation.body is not None}
    _, schemas = models_json_schema(
        [*((model, "serialization") for model in answers), *((model, "validation") for model in bodies)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(_braces(operation.path), {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lbflask admin API",
            "version": lbflask.__version__,
            "description": "Inspect and operate a fleet of balancers. Durations are in seconds, times in seconds since "
            "the epoch by the clock of the store.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}, {"session": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _described(schemas["$defs"]),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `[admin]`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "lbflask_session"},
            },
        },
    }


def text(operations: Sequence[Operation]) -> str:
    """The document as text, as served and as in docs/openapi.json."""
    return json.dumps(document(operations), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _operation(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
    }
    if operation.role is not None:
        document["description"] = f"For tokens with the role `{operation.role.value}`."
    if operation.body is not None:
        document["requestBody"] = {
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    response: dict[str, Any] = {"description": reason_phrase(operation.status)}
    if operation.status != 204:
        kind = {"type": "string" if "event" in operation.media_type else "object"}
        schema = kind if operation.answer is None else _ref(operation.answer)
        response["content"] = {operation.media_type: {"schema": schema}}
    if operation.changes:
        response["headers"] = {"ETag": {"description": "Entity tag of the override.", "schema": {"type": "string"}}}
    accepted = {202: {**response, "description": "The request is accepted and under way."}} if operation.later else {}
    problems = {status: _problem(status) for status in _problem_statuses(operation)}
    responses = {operation.status: response, **accepted, **problems}
    document["responses"] = {str(status): responses[status] for status in sorted(responses)}
    return document


def _problem_statuses(operation: Operation) -> set[int]:
    statuses = {403, *operation.problems}
    if operation.role is not None:
        statuses.add(401)
    if operation.query is not None:
        statuses.add(400)
    if operation.body is not None:
        statuses |= {400, 413, 415, 422}
    if operation.changes:
        statuses |= {400, 409, 412, 503}
    if "<" in operation.path:
        statuses.add(404)
    return statuses


def _described(schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas with the meanings of their properties, which are in the models."""
    models = {kind.__name__: kind for kind in _all_subclasses(Model)}
    for name in schemas.keys() & models.keys():
        properties = schemas[name].get("properties", {})
        meanings = attribute_docstrings(models[name])
        for key, field in models[name].model_fields.items():
            if key in meanings:
                properties[field.serialization_alias or key]["description"] = meanings[key]
    return schemas


def _all_subclasses(kind: type[Model]) -> set[type[Model]]:
    return {kind}.union(*map(_all_subclasses, kind.__subclasses__()))


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in re.findall(r"<(\w+)>", operation.path):
        about = {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name]}
        parameters.append({**about, "schema": {"type": "string", "minLength": 1}})
    if operation.query is not None:
        aliases = {name: field.alias or name for name, field in operation.query.model_fields.items()}
        meanings = {aliases[name]: text for name, text in attribute_docstrings(operation.query).items()}
        for name, values in operation.query.model_json_schema()["properties"].items():
            about = {"name": name, "in": "query", "required": False, "description": meanings.get(name, "")}
            parameters.append({**about, "schema": values})
    if operation.changes:
        description = "Expected `ETag` of the override; `*` or no field accepts any."
        parameters.append({"name": "If-Match", "in": "header", "required": False, "description": description,
                      "schema": {"type": "string", "pattern": r'^("[0-9a-f]{16}"|\*)$'}})  # fmt: skip
    return parameters


def _problem(status: int) -> dict[str, Any]:
    return {"description": _DESCRIPTIONS[status], "content": {"application/problem+json": {"schema": _ref(Problem)}}}


def _ref(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _braces(path: str) -> str:
    return re.sub(r"<(\w+)>", r"{\1}", path)
