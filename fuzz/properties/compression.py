"""The property of the rules of compression: what changes in the fields of any response."""

from __future__ import annotations

from lbflask.core.http.compression import CompressionPolicy, CompressionRules, with_strong_tags
from lbflask.core.http.field_names import members

RULES = CompressionRules(CompressionPolicy({"zstd": 3, "br": 3, "gzip": 4}))
#: Fields that state something of the bytes as they were.
GONE = {"content-length", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"}


def compression(text: str) -> None:
    lines = [line.partition(":") for line in text.split("\n")]
    fields = [(name, value.strip(" \t")) for name, _, value in lines]
    strong = with_strong_tags(fields)
    assert with_strong_tags(strong) == strong
    assert [field for field in strong if field[0].lower() != "if-match"] == [
        field for field in fields if field[0].lower() != "if-match"
    ]
    for status in (200, 206, 304):
        edited, coding = RULES.edited(status, fields, fields)
        names = [name.lower() for name, _ in edited]
        if coding:
            assert status == 200
            assert coding in ("zstd", "br", "gzip")
            assert ("Content-Encoding", coding) in edited
            assert names.count("content-encoding") == 1
            assert not GONE & set(names)
            assert not any(value.startswith('"') for name, value in edited if name.lower() == "etag")
            vary = {one.lower() for one in members([value for name, value in edited if name.lower() == "vary"])}
            assert vary & {"*", "accept-encoding"}
            assert RULES.edited(status, fields, edited) == (edited, "")  # never twice
        elif status == 206:
            assert edited == fields
        else:
            assert [name for name in names if name != "vary"] == [
                name.lower() for name, _ in fields if name.lower() != "vary"
            ]
