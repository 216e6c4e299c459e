"""Files of users: which hashes are accepted, and which lines are named."""

from __future__ import annotations

import pytest

from lbflask.core.password_file import BadPasswordLine, password_hashes
from tests.support.changes import property_test

BCRYPT = "$2y$05$" + "a" * 53
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$" + "b" * 43


def test_users_have_their_hashes() -> None:
    found = password_hashes(f"# staff\n\nalice:{BCRYPT}\n  bob : \n".replace("  bob : ", f"bob:{ARGON2}"))
    assert {user: one.kind for user, one in found.items()} == {"alice": "bcrypt", "bob": "argon2"}
    assert found["bob"].text == ARGON2
    assert ARGON2 not in repr(found["bob"])


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "no user"),
        ("# only a comment", 1, "no user"),
        (f"a:{BCRYPT}\nalice", 2, "user:hash"),
        (f":{BCRYPT}", 1, "user:hash"),
        (f"a:{BCRYPT}\n\na:{ARGON2}", 3, "line 1 already"),
        (f"a\x07b:{BCRYPT}", 1, "printable"),
        (f"{'a' * 256}:{BCRYPT}", 1, "255 bytes"),
        (f"alice :{BCRYPT}", 1, "without blanks"),
        (f"a:{'x' * 2000}", 1, "longer than"),
        ("a:$apr1$x$y", 1, "htpasswd -B"),
        ("a:{SHA}x", 1, "SHA-1"),
        ("a:$6$x$y", 1, "SHA-crypt"),
        ("a:secret", 1, "neither bcrypt nor Argon2"),
        ("a:$2y$03$" + "a" * 53, 1, "cost"),
        ("a:$2y$31$" + "a" * 53, 1, "cost"),
        (f"a:{ARGON2.replace('m=65536', 'm=9999999')}", 1, "cost"),
        (f"a:{ARGON2.replace('t=3', 't=0')}", 1, "cost"),
        (f"a:{ARGON2.replace('p=4', 'p=99')}", 1, "cost"),
    ],
)
def test_a_bad_line_is_named(text: str, line: int, reason: str) -> None:
    with pytest.raises(BadPasswordLine, match=reason) as error:
        password_hashes(text)
    assert error.value.line == line
    assert f"line {line}: " in str(error.value)
    assert "secret" not in str(error.value)


test_any_text_is_a_file_of_users_or_names_a_line = property_test("password_file")
