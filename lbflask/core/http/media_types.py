"""Media types of files by the ends of their names: one table, so that all machines of a fleet give the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: For a name without a known end: the client does not guess, since `nosniff` goes with it.
UNKNOWN: Final = "application/octet-stream"
_TEXT: Final = "; charset=utf-8"
#: Bodies that consist of events (HTML Standard §9.2), each of which is meant to reach the client at once.
EVENT_STREAM: Final = "text/event-stream"

#: By the end of the name, in small letters. The charset belongs to types whose files do not name it themselves.
MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".apk": "application/vnd.android.package-archive",
    ".atom": "application/atom+xml",
    ".avi": "video/x-msvideo",
    ".avif": "image/avif",
    ".bin": "application/octet-stream",
    ".bmp": "image/bmp",
    ".br": "application/octet-stream",
    ".bz2": "application/x-bzip2",
    ".css": "text/css" + _TEXT,
    ".csv": "text/csv" + _TEXT,
    ".deb": "application/vnd.debian.binary-package",
    ".dmg": "application/octet-stream",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".eot": "application/vnd.ms-fontobject",
    ".eps": "application/postscript",
    ".epub": "application/epub+zip",
    ".exe": "application/octet-stream",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gif": "image/gif",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".htm": "text/html" + _TEXT,
    ".html": "text/html" + _TEXT,
    ".ico": "image/vnd.microsoft.icon",
    ".ics": "text/calendar" + _TEXT,
    ".img": "application/octet-stream",
    ".iso": "application/octet-stream",
    ".jar": "application/java-archive",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript" + _TEXT,
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".m4s": "video/iso.segment",
    ".m4v": "video/mp4",
    ".map": "application/json",
    ".md": "text/markdown" + _TEXT,
    ".mid": "audio/midi",
    ".midi": "audio/midi",
    ".mjs": "text/javascript" + _TEXT,
    ".mkv": "video/matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".pem": "application/x-pem-file",
    ".png": "image/png",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".ps": "application/postscript",
    ".rar": "application/vnd.rar",
    ".rpm": "application/x-rpm",
    ".rss": "application/rss+xml",
    ".rtf": "application/rtf",
    ".sh": "text/x-shellscript" + _TEXT,
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".toml": "application/toml",
    ".ts": "video/mp2t",
    ".ttf": "font/ttf",
    ".txt": "text/plain" + _TEXT,
    ".vtt": "text/vtt" + _TEXT,
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".whl": "application/zip",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".xsl": "application/xslt+xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}


def bare_type(value: str) -> str:
    """The type that a Content-Type states, in small letters and without parameters (RFC 9110 §8.3.1)."""
    return value.partition(";")[0].strip(" \t").lower()


def end_of(name: str) -> str:
    """The end of a name from its last dot on, in small letters; empty without a dot, or with nothing before it."""
    stem, dot, end = name.rpartition(".")
    return f".{end.lower()}" if stem and dot else ""


def media_type(name: str, more: Mapping[str, str]) -> str:
    """The type of a file of this name. `more` has types by ends of names that take precedence."""
    end = end_of(name)
    return more.get(end) or MEDIA_TYPES.get(end, UNKNOWN)


def has_known_end(name: str, more: Mapping[str, str]) -> bool:
    """Whether the name is that of a file, and hardly one of a page of an application."""
    end = end_of(name)
    return end in more or end in MEDIA_TYPES
