"""Builds the handlers of routes with `files`."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lbflask.core.http.static_files import StaticFiles
from lbflask.core.routing import Route
from lbflask.files.document_root import DocumentRoot
from lbflask.files.file_cache import FileCache
from lbflask.files.file_lookup import FileLookup
from lbflask.proxy.internal_files import InternalFiles
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings
from lbflask.proxy.static_files import StaticFilesRoute


def internal_files(roots: Mapping[str, str]) -> InternalFiles | None:
    """The files that backends may name, by prefixes; None for none. They are not held in memory: each client gets its
    own.
    """
    cache = FileCache(time.time, most=0)
    lookups = {path: FileLookup(DocumentRoot(path), cache, precompressed=False, types={}) for path in roots.values()}
    return InternalFiles(roots, lookups) if roots else None


def static_files_route(
    route: Route, files: StaticFiles, services: SharedServices, settings: ProxySettings, cache: FileCache
) -> StaticFilesRoute:
    """The handler of the route, whose files are held in the cache."""
    lookup = FileLookup(
        DocumentRoot(files.root),
        cache,
        precompressed=files.precompressed,
        types=files.types,
        cache_control=files.cache_control,
    )
    replies = LocalReplies(services, settings, route=route.name)
    return StaticFilesRoute(files, lookup, replies, settings, route.match.segments)
