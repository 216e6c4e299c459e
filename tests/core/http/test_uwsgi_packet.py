from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.types import Fields
from lbflask.core.http.uwsgi_packet import MAX_VARIABLES, TooManyVariables, uwsgi_packet


def variables(packet: bytes) -> dict[str, str]:
    """What a server reads from a packet that holds nothing else."""
    assert (packet[0], packet[3]) == (0, 0)  # modifier1: WSGI
    assert int.from_bytes(packet[1:3], "little") == len(packet) - 4
    texts, at = [], 4
    while at < len(packet):
        length = int.from_bytes(packet[at : at + 2], "little")
        texts.append(packet[at + 2 : at + 2 + length].decode("latin-1"))
        at += 2 + length
    assert at == len(packet)
    assert len(set(texts[::2])) == len(texts) // 2, "a variable is there twice"
    return dict(zip(texts[::2], texts[1::2], strict=True))


def test_a_request_has_the_variables_of_cgi() -> None:
    fields = [
        ("X-Real-IP", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("Content-Type", "text/plain"),
        ("User-Agent", "curl"),
    ]
    assert variables(uwsgi_packet("POST", "/a%20b;c?x=%20", "shop.example:8443", fields, 3)) == {
        "REQUEST_METHOD": "POST",
        "REQUEST_URI": "/a%20b;c?x=%20",
        "PATH_INFO": "/a b;c",
        "QUERY_STRING": "x=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "8443",
        "REQUEST_SCHEME": "https",
        "HTTPS": "on",
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "shop.example:8443",
        "HTTP_X_REAL_IP": "192.0.2.7",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_USER_AGENT": "curl",
    }


def test_the_path_has_the_bytes_that_were_sent() -> None:
    """gunicorn's own workers let bytes pass that are not encoded."""
    found = variables(uwsgi_packet("GET", "/\xe9%e9", "a", [], None))
    assert (found["REQUEST_URI"], found["PATH_INFO"]) == ("/\xe9%e9", "/\xe9\xe9")


@pytest.mark.parametrize(
    ("host", "fields", "name", "port"),
    [
        ("a.example", [], "a.example", "80"),
        ("a.example", [("x-forwarded-proto", "https")], "a.example", "443"),
        ("[2001:db8::1]", [], "[2001:db8::1]", "80"),
        ("[2001:db8::1]:81", [], "[2001:db8::1]", "81"),
        ("", [], "", "80"),
    ],
)
def test_the_host_gives_the_name_and_the_port_of_the_server(host: str, fields: Fields, name: str, port: str) -> None:
    found = variables(uwsgi_packet("GET", "/", host, fields, None))
    assert (found["SERVER_NAME"], found["SERVER_PORT"], found["CONTENT_LENGTH"]) == (name, port, "")


def test_repeated_fields_are_joined() -> None:
    fields = [("Accept", "a"), ("Cookie", "x=1"), ("accept", "b"), ("Cookie", "y=2")]
    found = variables(uwsgi_packet("GET", "/", "a", fields, None))
    assert (found["HTTP_ACCEPT"], found["HTTP_COOKIE"]) == ("a, b", "x=1; y=2")


@pytest.mark.parametrize("name", ["X_Real_IP", "Host", "Proxy", "Expect", "Content-Length", "content-type", "X_"])
def test_no_field_takes_the_variable_of_another(name: str) -> None:
    found = variables(uwsgi_packet("GET", "/", "a", [("X-Real-IP", "192.0.2.7"), (name, "1")], None))
    others = {key for key in found if key.startswith("HTTP_")}
    assert others == {"HTTP_HOST", "HTTP_X_REAL_IP"}
    assert found["HTTP_X_REAL_IP"] == "192.0.2.7"


@pytest.mark.parametrize("size", [MAX_VARIABLES, MAX_VARIABLES + 1, 2 * MAX_VARIABLES])
def test_more_than_a_packet_holds_is_an_error(size: int) -> None:
    with pytest.raises(TooManyVariables, match=f"of at most {MAX_VARIABLES}"):
        uwsgi_packet("GET", "/", "a", [("X", "x" * size)], None)


text = st.text(st.characters(max_codepoint=255), max_size=30)


@given(method=text, target=text, host=text, fields=st.lists(st.tuples(text, text), max_size=5))
def test_any_request_is_one_packet_of_whole_variables(method: str, target: str, host: str, fields: Fields) -> None:
    found = variables(uwsgi_packet(method, target, host, fields, None))
    assert (found["REQUEST_METHOD"], found["REQUEST_URI"], found["HTTP_HOST"]) == (method, target, host)
