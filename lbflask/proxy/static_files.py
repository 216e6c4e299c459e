"""The route action `files`: responses from files below a directory, with the events of all local replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.compression import with_strong_tags
from lbflask.core.http.file_answers import FileAnswer, asked_of, asks_for_all
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.static_files import METHODS, StaticFiles
from lbflask.core.http.types import Fields
from lbflask.files.document_root import IsDirectory, NoFile, RefusedFile
from lbflask.files.file_lookup import ServedFile
from lbflask.files.file_region import FileRegion, TruncatedFile
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.client_response import ClientResponse
from lbflask.proxy.local_replies import LocalReplies
from lbflask.proxy.settings import ProxySettings
from lbflask.upstream.oserror_text import oserror_text
from lbflask.upstream.shortage import shortage

NOT_FOUND = Fault(Blame.CLIENT, Stage.CHOOSE, 404, "there is no such file", answer_cause=AnswerCause.FILE)
FORBIDDEN = Fault(Blame.CLIENT, Stage.CHOOSE, 403, "the file may not be read", answer_cause=AnswerCause.FILE)
WRONG_METHOD = Fault(Blame.CLIENT, Stage.CHOOSE, 405, "a file takes GET and HEAD only", answer_cause=AnswerCause.FILE)


#: Targets whose names are kept, and characters of such a target.
MOST_KNOWN: Final = 1024
MOST_KNOWN_LENGTH: Final = 256


class FileFinder(Protocol):
    """Finds files by names; see FileLookup."""

    def find(self, names: Sequence[str], accept_encoding: str | None) -> ServedFile:
        """The file. Raises NoFile, IsDirectory, TruncatedFile, OSError."""
        ...

    def clock(self) -> float:
        """The time, in seconds since 1970."""
        ...


class StaticFilesRoute:
    """A route whose requests are answered by files. `segments` is the length of the prefix that it matches."""

    def __init__(
        self, files: StaticFiles, source: FileFinder, replies: LocalReplies, settings: ProxySettings, segments: int
    ) -> None:
        via = settings.via
        self._files = files
        self._source = source
        self._replies = replies
        self._via: Fields = [] if via is None else [("Via", "1.1 " + via)]
        self._compression = settings.compression
        self._via_line = b"" if via is None else f"Via: 1.1 {via}\r\n".encode("latin-1")
        self._passes_lines = settings.compression is None and not replies.edits_fields
        self._segments = segments
        self._known: dict[str, tuple[list[str], bool]] = {}

    def __repr__(self) -> str:
        return f"StaticFilesRoute({self._replies.route}: {self._files.root})"

    def dispatch(self, request: ClientRequest) -> ClientResponse:
        """The response to the request."""
        if request.method not in METHODS:
            return self._replies.reject(request, WRONG_METHOD, [("Allow", "GET, HEAD")])
        found = self._known.get(request.target.text) or self._names(request.target.text)
        if found is None:
            return self._replies.reject(request, NOT_FOUND, log_reason="the path names no file")
        names, is_directory = found
        asked = asked_of(request.fields if self._compression is None else with_strong_tags(request.fields))
        try:
            served = self._find(names, is_directory, asked)
        except IsDirectory:
            return self._redirect(request)
        except NoFile as missing:
            return self._replies.reject(request, NOT_FOUND, log_reason=str(missing))
        except (TruncatedFile, OSError) as error:
            return self._reject_failure(request, error)
        representation = served.representation
        if self._passes_lines and served.file is None and asks_for_all(asked):
            text, dated, size = representation.lines
            return self._replies.respond_whole(request, (text + self._via_line, dated, size), served.content)
        answer = representation.answer(request.method, asked, self._source.clock())
        return self._respond(request, served, answer)

    def _names(self, target: str) -> tuple[list[str], bool] | None:
        """The names that a target stands for. Those of short targets are kept for the next request."""
        found = self._files.names(target, self._segments)
        if found is not None and len(target) <= MOST_KNOWN_LENGTH:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[target] = found
        return found

    def _find(self, names: list[str], is_directory: bool, asked: Mapping[str, str]) -> ServedFile:
        """The file, an index of the directory, or the fallback. Raises NoFile, IsDirectory, TruncatedFile, OSError."""
        codings = asked.get("accept-encoding")
        try:
            return self._index(names, codings) if is_directory else self._source.find(names, codings)
        except NoFile as reason:
            missing = reason
        if isinstance(missing, RefusedFile) or not self._files.falls_back(names):
            raise missing
        try:
            return self._source.find(self._files.fallback, codings)
        except IsDirectory:
            raise NoFile("the fallback is a directory") from None

    def _index(self, names: list[str], codings: str | None) -> ServedFile:
        """The index of the directory. Raises NoFile, TruncatedFile, OSError."""
        missing = NoFile(f"the directory {'/'.join(names)} has no index")
        for name in self._files.index:
            try:
                return self._source.find([*names, name], codings)
            except NoFile as reason:
                missing = reason
            except IsDirectory:
                pass
        raise missing

    def _redirect(self, request: ClientRequest) -> ClientResponse:
        """To the same path with a slash, from which relative references of the index start (RFC 3986 §5)."""
        path, mark, query = request.target.text.partition("?")
        fields: Fields = [("Location", f"{path}/{mark}{query}"), ("Content-Length", "0"), *self._via]
        return self._replies.respond(request, "301 Moved Permanently", fields, b"", AnswerCause.FILE)

    def _reject_failure(self, request: ClientRequest, error: Exception) -> ClientResponse:
        if isinstance(error, PermissionError):
            return self._replies.reject(request, FORBIDDEN, log_reason=f"{self._files.root}: {oserror_text(error)}")
        lack = shortage(error, Stage.CHOOSE) if isinstance(error, OSError) else None
        if lack is not None:
            return self._replies.reject(request, lack)
        text = oserror_text(error) if isinstance(error, OSError) else "it became shorter while it was read"
        return self._replies.reject(request, Fault(Blame.SELF, Stage.CHOOSE, 500, f"the file cannot be read: {text}"))

    def _respond(self, request: ClientRequest, served: ServedFile, answer: FileAnswer) -> ClientResponse:
        status, fields = f"{answer.status} {reason_phrase(answer.status)}", [*answer.fields, *self._via]
        compressor = None
        if self._compression is not None:
            fields, compressor = self._compression.begin(request, answer.status, fields)
        file = served.file
        if file is not None and answer.count and request.method != "HEAD":
            region = FileRegion(file, answer.start, answer.count)
            return self._replies.respond_file(request, status, fields, region, compressor)
        if file is not None:
            file.close()
        body = served.content
        if answer.count != len(body):
            body = body[answer.start : answer.start + answer.count]
        if compressor is not None:
            body = compressor.whole(body)
            fields = [*fields, ("Content-Length", str(len(body)))]
        return self._replies.respond(request, status, fields, body, AnswerCause.FILE)
