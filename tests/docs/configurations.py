"""Configurations that pages show, validated by the product's loader; a fragment is completed with what it lacks."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from devtools.certificates import Authority
from lbflask.config.load import ConfigError, load, read_backends
from lbflask.hooks.runner import GROUP
from tests.support.pool_routes import with_routes

BACKENDS = ["http://127.0.0.1:8001"]
#: The contents of files that the loader reads, by the settings that name them.
CONTENTS = {
    "token_file": f"operator:alice:{'3f0c' * 12}\n",
    "secret_file": f"{'3f0c' * 12}\n",
    "key_file": f"{'3f0c' * 12}\n",
    "error_pages": "<p>Soon.</p>\n",
    "file": "<p>Soon.</p>\n",
}


@cache
def tls_contents() -> dict[str, str]:
    """The same for the tables of TLS: a certificate, its key and its authority."""
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory))
        pair = authority.pair("shop.example")
        files = {
            "certificate": pair.certificate,
            "cert": pair.certificate,
            "key": pair.key,
            "ca_file": authority.ca_file,
            "client_ca": authority.ca_file,
            "client_crl": authority.ca_file,  # which is read in the same way
        }
        return {name: Path(file).read_text("utf-8") for name, file in files.items()}


def problem_of_toml(text: str) -> str:
    """What is wrong with a block of TOML: an lbflask.toml, or the entry points of a project with a hook."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return str(error)
    if values.keys() == {"project"}:
        return "" if GROUP in values["project"].get("entry-points", {}) else f"no entry points of the group {GROUP}"
    return problem_of(completed(values))


def problem_of(values: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "lbflask.toml"
        file.write_text(tomli_w.dumps(with_files(values, Path(directory))), "utf-8")
        try:
            load({"LBFLASK_CONFIG": str(file)})
        except ConfigError as error:
            return str(error).replace(f"{directory}/", "")
    return ""


def completed(values: dict[str, Any]) -> dict[str, Any]:
    """The same with backends for the pools that have none, and with the pools and limits that the routes name."""
    values = {**values, "pools": dict(values.get("pools", {}))}
    routes = [route for route in values.get("routes", []) if isinstance(route, dict)]
    for pool in (pool for route in routes for pool in pools_of(route)):
        if pool != "default":
            values["pools"].setdefault(pool, {})
    for name, pool in values["pools"].items():
        if isinstance(pool, dict) and not pool.keys() & {"backends", "discovery"}:
            values["pools"][name] = {**pool, "backends": BACKENDS}
    limits = {route["rate_limit"] for route in routes if "rate_limit" in route}
    if limits:
        values["rate_limits"] = {**{name: {"rate": "1/s"} for name in limits}, **values.get("rate_limits", {})}
    if not values.keys() & {"backends", "discovery"}:
        values["backends"] = BACKENDS
    return with_routes(values)


def with_files(values: Any, directory: Path, table: str = "", key: str = "") -> Any:
    """The same with files of the directory, which are written, in place of those that the loader reads."""
    if isinstance(values, dict):
        return {
            name: with_files(value, directory, key, key if key == "error_pages" else name)
            for name, value in values.items()
        }
    if isinstance(values, list):
        return [with_files(value, directory, table, key) for value in values]
    if isinstance(values, str) and (key == "files" or (table, key) == ("files", "root") or table == "internal_files"):
        root = directory / values.strip("/").replace("/", "-")
        root.mkdir(exist_ok=True)
        return root.name
    if isinstance(values, str) and (key == "basic" or (table, key) == ("basic", "file")):
        file = directory / values
        file.write_text(f"alice:$2y$05${'a' * 53}\n", "utf-8")
        return file.name
    contents = tls_contents() if table in ("tls", "backend_tls", "certificates", "listeners") else CONTENTS
    if key in contents and isinstance(values, str) and values:
        file = directory / values.strip("/").replace("/", "-")
        file.write_text(contents[key], "utf-8")
        return file.name
    return values


def pools_of(route: dict[str, Any]) -> set[str]:
    """The pools that a route names."""
    named = {route.get("pool"), (route.get("mirror") or {}).get("pool")}
    return {pool for pool in (*named, *route.get("split", {})) if pool}


def problem_of_variable(name: str, value: str) -> str:
    """What is wrong with a variable of the environment that begins with LBFLASK_."""
    environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": BACKENDS[0], name: value}
    if name == "LBFLASK_CONFIG":
        return ""
    try:
        load(environ)
    except ConfigError as error:
        return str(error)
    return ""


def problem_of_json(text: str) -> str:
    """What is wrong with a block of JSON: a list is one of backends, as discovery reads it from a file."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    if isinstance(values, list):
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "backends.json"
            file.write_text(text, "utf-8")
            try:
                read_backends(file)
            except ConfigError as error:
                return str(error)
    return ""
