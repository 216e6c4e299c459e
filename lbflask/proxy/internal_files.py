"""Answers of backends that name a file: the balancer sends it instead, and the backend is free."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import client_response
from lbflask.core.http.file_answers import asked_of
from lbflask.core.http.internal_files import (
    ACCEL_REDIRECT,
    FilePlace,
    named_file,
    redirect_places,
    sendfile_places,
    with_file_fields,
)
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.static_files import METHODS
from lbflask.core.http.types import Fields
from lbflask.files.document_root import IsDirectory, NoFile
from lbflask.files.file_lookup import FileLookup, ServedFile
from lbflask.files.file_region import FileRegion, TruncatedFile
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse, Finish
from lbflask.proxy.compressed_file_response import CompressedFileResponse
from lbflask.proxy.compression import Compression
from lbflask.proxy.file_response import FileResponse
from lbflask.upstream.oserror_text import oserror_text
from lbflask.upstream.shortage import shortage
from lbflask.upstream.stream import BackendAnswer

#: Statuses without a body, in whose place no file can be sent.
_BODILESS = (204, 304)


class InternalFileAnswer:
    """Status, fields and body of the response with a file."""

    __slots__ = ("body", "fields", "region", "status")

    def __init__(self, status: int, fields: Fields, body: bytes, region: FileRegion | None) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.region = region

    def response(
        self,
        request: ClientRequest,
        fields: Fields,
        finish: Finish,
        deadline: float,
        compression: Compression | None,
    ) -> ClientResponse:
        """The response with these fields, which are edited."""
        line = f"{self.status} {reason_phrase(self.status)}"
        if self.region is None:
            body = self.body
            if compression is not None:
                fields, body = compression.whole(request, self.status, fields, body)
            return ClientResponse(line, fields, body, finish, deadline)
        if compression is not None:
            fields, compressor = compression.begin(request, self.status, fields)
            if compressor is not None:
                return CompressedFileResponse(line, fields, self.region, finish, compressor, deadline)
        return FileResponse(line, fields, self.region, finish, deadline)


class InternalFiles:
    """The files that backends may name: `roots` are directories by prefixes of an X-Accel-Redirect, with a lookup for
    each directory.
    """

    def __init__(self, roots: Mapping[str, str], lookups: Mapping[str, FileLookup]) -> None:
        self._roots = roots
        self._lookups = lookups

    def __repr__(self) -> str:
        return f"InternalFiles({', '.join(self._roots)})"

    def answer(self, request: ClientRequest, answer: BackendAnswer, via: str | None) -> InternalFileAnswer | None:
        """What the client gets in place of the backend's response; None for a response that names no file.

        Raises Fault for a file that is not there or cannot be read. Its reason, with names of files, is for the log.
        """
        backends = answer.fields
        named = named_file(backends)
        if named is None:
            return None
        if answer.status in _BODILESS:
            return InternalFileAnswer(answer.status, client_response(with_file_fields(backends, []), via), b"", None)
        served = self._find(*named)
        status = 200 if answer.status == 206 else answer.status  # a part of the body that is not sent
        whole = served.representation.whole(status)
        if status == 200 and request.method in METHODS:
            asked = asked_of(request.fields)
            clock = next(iter(self._lookups.values())).clock
            whole = served.representation.answer(request.method, asked, clock())
        fields = client_response(with_file_fields(backends, whole.fields), via)
        file, start, count = served.file, whole.start, whole.count
        if file is not None and count and request.method != "HEAD":
            return InternalFileAnswer(whole.status, fields, b"", FileRegion(file, start, count))
        if file is not None:
            file.close()
        body = b"" if request.method == "HEAD" else served.content[start : start + count]
        return InternalFileAnswer(whole.status, fields, body, None)

    def _find(self, name: str, value: str) -> ServedFile:
        places = self._places(name, value)
        reason = f"{name} names {value[:200]!r}, which is in none of internal_files"
        for root, names in places:
            try:
                return self._lookups[root].find(names, None)
            except NoFile as missing:
                reason = f"{name}: {missing}"
            except IsDirectory:
                reason = f"{name} names a directory"
            except TruncatedFile:
                raise _unreadable("it became shorter while it was read") from None
            except OSError as error:
                raise shortage(error, Stage.CHOOSE) or _unreadable(oserror_text(error)) from None
        raise Fault(Blame.SELF, Stage.CHOOSE, 404, reason, answer_cause=AnswerCause.FILE)

    def _places(self, name: str, value: str) -> Sequence[FilePlace]:
        if name == ACCEL_REDIRECT:
            return redirect_places(value, self._roots)
        # A backend that resolves links names the same directory in another way.
        roots = [(root, form) for root in self._lookups for form in dict.fromkeys((root, os.path.realpath(root)))]
        return sendfile_places(value, roots)


def _unreadable(reason: str) -> Fault:
    return Fault(Blame.SELF, Stage.CHOOSE, 500, f"the file that the backend names cannot be read: {reason}")
