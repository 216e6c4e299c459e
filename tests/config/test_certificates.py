from __future__ import annotations

import time
from pathlib import Path

import pytest

from devtools.certificates import Authority, in_days
from lbflask.config.certificates import certificate_files, expiry_text, expiry_warnings
from lbflask.config.schema import Config

DAY = 86_400.0
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (14.01, ""),
        (13.9, "expires in 14 days, at 2023-11-28 19:49 UTC"),
        (1.5, "expires in 36 hours, at 2023-11-16 10:13 UTC"),
        (0.0, "expired 0 hours ago, at 2023-11-14 22:13 UTC"),
        (-3.0, "expired 3 days ago, at 2023-11-11 22:13 UTC"),
    ],
)
def test_an_expiry_is_told_from_two_weeks_before_it(days: float, text: str) -> None:
    assert expiry_text(NOW + days * DAY, NOW) == text


def test_a_chain_expires_with_its_first_certificate_and_roots_with_the_last(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    early, late = authority.pair("a", not_after=in_days(3)), authority.pair("a", not_after=in_days(30))
    chain, roots = Path(late.certificate), tmp_path / "roots"
    both = chain.read_text() + "\n" + Path(early.certificate).read_text()
    chain.write_text(both)
    roots.write_text(both)
    config = Config.model_validate(
        {
            "backends": ["https://a:1"],
            "tls": {"certificate": late.certificate, "key": late.key},
            "backend_tls": {"ca_file": str(roots), "certificate": early.certificate, "key": early.key},
        }
    )
    now = time.time()
    days = {file.setting: round((file.expires - now) / DAY) for file in certificate_files(config)}
    assert days == {"tls.certificate": 3, "backend_tls.certificate": 3, "backend_tls.ca_file": 30}
    listener, client = expiry_warnings(config, now)
    assert listener.startswith(f"tls.certificate = {late.certificate!r}: the certificate expires in 3 days, at 20")
    assert client.startswith("backend_tls.certificate = ")
    assert expiry_warnings(config, now - 30 * DAY) == ()
    chain.unlink()
    roots.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert [file.setting for file in certificate_files(config)] == ["backend_tls.certificate"]


def test_there_are_none_without_tls() -> None:
    assert certificate_files(Config.model_validate({"backends": ["http://a:1"]})) == ()
