"""The commands on bans."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lbflask.cli import main
from lbflask.cli.context import USAGE
from lbflask.cli.render import duration_text
from lbflask.core.bans import Ban
from tests.cli.servers import piped, served
from tests.control.servers import Counter


@pytest.mark.long
def test_a_network_is_banned_listed_and_let_in_again() -> None:
    counter = Counter()
    with served(counter) as url:
        assert piped("bans", "--url", url) == (0, "no address is banned\n")
        code, shown = piped("ban", "203.0.113.7/24", "--for", "2h", "--reason", "scraper", "--url", url)
        assert (code, shown.startswith("203.0.113.0/24 is banned until ")) == (0, True)
        counter.facts.write_ban(Ban("2001:db8::/64", 0.0, actor="web1", rule="login"), 60)
        head, *lines = piped("bans", "--url", url)[1].splitlines()
        assert head.split() == ["network", "until", "by", "reason"]
        shown = " ".join(lines)
        assert "203.0.113.0/24" in shown
        assert "scraper" in shown
        assert "login" in shown
        listed = json.loads(piped("bans", "--json", "--url", url)[1])["bans"]
        ends = {ban["network"]: ban["until"] for ban in listed}
        assert ends == {"203.0.113.0/24": counter.clock() + 7200, "2001:db8::/64": counter.clock() + 60}
        assert piped("unban", "203.0.113.0/24", "--url", url) == (0, "203.0.113.0/24 is not banned\n")
        assert piped("unban", "203.0.113.0/24", "--url", url) == (0, "203.0.113.0/24 is not banned, as before\n")


def test_the_status_has_a_line_with_the_newest_bans_while_there_are_any() -> None:
    counter = Counter()
    with served(counter) as url:
        assert "ban" not in piped("status", "--url", url)[1]
        counter.facts.write_ban(Ban("2001:db8::/64", 0.0, actor="web1", rule="login"), 172_800)
        counter.fleet.refresh()
        assert "1 ban: 2001:db8::/64 for 2 d more, by rule login (`lbflask bans`)" in lines("status", url)
        for number in range(9):
            counter.clock.advance(1)
            counter.facts.write_ban(Ban(f"192.0.2.{number}", 0.0, actor="alice"), 86_400 * number + 7200)
        counter.fleet.refresh()
        (line,) = [line for line in lines("status", url) if " bans: " in line]
        assert line.startswith("10 bans: 192.0.2.8 for 8 d more, by alice; 192.0.2.7 for 7 d more, by alice; ")
        assert line.endswith("; 192.0.2.4 for 4 d more, by alice, … (`lbflask bans`)")
        assert line in lines("top", url, "--count", "1")


def lines(command: str, url: str, *more: str) -> list[str]:
    return piped(command, "--url", url, *more)[1].splitlines()


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"),
                                               (7200, "2 h"), (172_799, "48 h"), (172_800, "2 d")])  # fmt: skip
def test_a_duration_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("network", "message"), [("example.com", "no address or network"), ("0.0.0.0/0", "too large")])
def test_what_is_no_network_is_a_mistake_of_usage(network: str, message: str) -> None:
    result = CliRunner().invoke(main, ["ban", network, "--url", "http://127.0.0.1:1"])
    assert (result.exit_code, message in result.output) == (USAGE, True)
