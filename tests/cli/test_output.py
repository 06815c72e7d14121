"""Tables and blocks: they fit the terminal, and nothing is cut off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certferry.cli.output import ago, block, coloured, duration, instant, table
from certferry.settings import UserError

NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)
COLUMNS = {"secret": "NAMESPACE/SECRET", "hosts": "HOSTS", "expires": "EXPIRES", "status": "STATUS"}
ROW = {
    "secret": "a-namespace/a-rather-long-secret-name-tls",
    "hosts": ["shop.example.com", "www.shop.example.com", "api.shop.example.com", "more.example.com"],
    "expires": "in 29d 3h",
    "status": "unusable (CertificateUnusable)",
}


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_table_fits_the_terminal_and_loses_no_character(width: int) -> None:
    text = table([ROW, {"secret": "demo/x", "hosts": [], "expires": "", "status": "served"}], COLUMNS, width)
    assert max(map(len, text.splitlines())) <= width
    letters = "".join(text.split())
    assert len(letters) == len("".join(table([ROW, {"secret": "demo/x", "status": "served"}], COLUMNS, 500).split()))
    assert "in 29d 3h" in text
    assert "+1" in text


def test_a_wide_table_lists_everything_in_one_line() -> None:
    head, line = table([ROW], COLUMNS).splitlines()
    assert head.split() == list(COLUMNS.values())
    assert "more.example.com" in line


def test_a_block_wraps_below_its_label_and_leaves_commands_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    command = "certferry cert replace demo/hello-tls --cert new.crt --key new.key"
    text = block("demo/hello-tls", [("why", "a long sentence " * 6), ("empty", ""), ("next", command)])
    lines = text.splitlines()
    assert lines[0] == "demo/hello-tls"
    assert "empty" not in text
    assert f"  next: {command}" in lines
    assert all(len(line) <= 50 for line in lines if command not in line)
    assert lines[2].startswith("        ")


def test_there_is_no_colour_without_a_terminal() -> None:
    assert coloured("wrong", "wrong") == "wrong"


def test_times_have_a_zone() -> None:
    assert instant(NOW) == "2026-11-28 09:00 UTC"
    assert ago(NOW + timedelta(days=4, hours=23, minutes=5), NOW) == "in 4d 23h"
    assert ago(NOW - timedelta(minutes=3), NOW) == "3m ago"


def test_a_duration_has_a_unit() -> None:
    assert duration("30d") == timedelta(days=30)
    with pytest.raises(UserError, match="like 30m, 4h or 2d"):
        duration("soon")
