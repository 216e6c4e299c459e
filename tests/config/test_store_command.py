from __future__ import annotations

import pytest

from lbflask.config.store_command import UNKNOWN, store_command


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://10.0.0.5:6379/2", "redis-cli -u redis://10.0.0.5:6379/2"),
        ("redis://:secret@s1", "redis-cli -u redis://s1"),
        ("redis://bob:se%40cret@[::1]:7/0?protocol=3", "redis-cli -u 'redis://[::1]:7/0' --user bob"),
        ("rediss://s1/0?ssl_ca_certs=/etc/my%20ca.pem", "redis-cli -u rediss://s1/0 --cacert '/etc/my ca.pem'"),
        ("rediss+cluster://u:secret@s1:1,s2:2", "redis-cli -c -u rediss://s1:1"),
        ("redis+sentinel://:secret@s1:26379,s2/service/0", UNKNOWN),
        ("unix:///run/valkey.sock?db=1", "redis-cli -s /run/valkey.sock"),
    ],
)
def test_an_operator_can_paste_it_and_it_has_no_password(url: str, command: str) -> None:
    assert store_command(url) == command
    assert "cret" not in command
