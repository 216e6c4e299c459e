"""Passwords by their hashes, as other programs write them."""

from __future__ import annotations

import argon2
import bcrypt
import pytest

from lbflask.core.password_file import PasswordHash, password_hashes
from lbflask.credentials.password_verifier import is_password

LONG = b"p" * 200


def bcrypt_of(password: bytes) -> PasswordHash:
    # Apache's htpasswd writes $2y$.
    return PasswordHash("bcrypt", bcrypt.hashpw(password[:72], bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"))


def argon2_of(password: bytes) -> PasswordHash:
    return PasswordHash("argon2", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password))


@pytest.mark.parametrize("hashed_by", [bcrypt_of, argon2_of])
@pytest.mark.parametrize("password", [b"open sesame", "Zoë".encode(), LONG, b""])
def test_only_the_password_is_right(hashed_by: object, password: bytes) -> None:
    assert callable(hashed_by)
    hashed = hashed_by(password)
    assert is_password(password, hashed)
    assert not is_password(b"x" + password, hashed)
    assert not is_password(b"other", hashed)


@pytest.mark.parametrize("written", range(16))
def test_only_the_bits_of_a_salt_that_count_are_read(written: int) -> None:
    text = bcrypt_of(b"a").text
    digits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    text = f"{text[:28]}{digits[digits.index(text[28]) + written]}{text[29:]}"
    hashed = password_hashes(f"alice:{text}")["alice"]
    assert is_password(b"a", hashed)
    assert not is_password(b"b", hashed)


def test_the_hashes_of_the_libraries_are_accepted_in_files() -> None:
    lines = [f"user{number}:{one.text}" for number, one in enumerate((bcrypt_of(b"a"), argon2_of(b"a")))]
    lines.append(f"default:{argon2.PasswordHasher().hash('a')}")
    assert len(password_hashes("\n".join(lines))) == 3


def test_a_malformed_hash_is_no_password() -> None:
    assert not is_password(b"a", PasswordHash("argon2", "$argon2id$v=19$m=65536,t=3,p=4$AAAA$AAAA"))
