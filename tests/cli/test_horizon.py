"""`certferry horizon` in a world with one good and several bad certificates."""

from __future__ import annotations

from typing import Any

import icalendar
import msgspec
import pytest
import yaml
from hypothesis import given as arbitrary
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from certferry.cli import app
from certferry.cli.cert.lookup import FleetSnapshot
from certferry.core.horizon.icalendar import calendar
from tests.cli.conftest import Clock
from tests.core.horizon.test_horizon import horizon


@pytest.fixture
def run(fleet: FleetSnapshot, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return a function that runs `certferry horizon` in the settled world."""

    async def read(*_: object) -> FleetSnapshot:
        return fleet

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("certferry.cli.cluster.horizon.read_fleet", read)
    monkeypatch.setattr("certferry.cli.cluster.horizon.datetime", Clock)
    return Runner()


class Runner:
    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["horizon", *arguments])


def test_the_table_fits_80_columns_and_says_who_renews_what_and_when(run: Runner) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert next(line for line in lines if line.startswith("demo/hello-tls")).split("  ")[1:] != []
    assert "by hand" in result.stdout
    assert "2029-03-15" in result.stdout
    assert "0 renewals would fail today." in result.stdout


def test_a_renewal_that_would_fail_is_named_with_its_cause_and_is_exit_code_1(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.conftest import settled_fleet

    broken = settled_fleet({"demo/hello-tls": {"flaw": "The private key is damaged."}})

    async def read(*_: object) -> FleetSnapshot:
        return broken

    monkeypatch.setattr("certferry.cli.cluster.horizon.read_fleet", read)
    result = run()
    assert result.exit_code == 1
    assert "1 renewal would fail today:" in result.stdout
    assert "private key is damaged" in " ".join(result.stdout.split())


def test_json_and_yaml_have_the_same_data(run: Runner) -> None:
    data = msgspec.json.decode(run("-o", "json").stdout)
    assert {"certificates", "dates", "periods", "days"} < set(data)
    assert {c["secret"]: c["renewer"] for c in data["certificates"]}["demo/hello-tls"] == "hand"
    assert sum(day["renewals"] for day in data["days"]) == sum(c["renewals"] for c in data["certificates"])
    assert len(yaml.safe_load(run("-o", "yaml").stdout)["certificates"]) == len(data["certificates"])


def test_a_calendar_has_the_renewals_and_the_dates_to_come(run: Runner) -> None:
    read = icalendar.Calendar.from_ical(run("-o", "ical").stdout_bytes)
    titles = [str(event["SUMMARY"]) for event in read.walk("VEVENT")]
    assert "demo/hello-tls expires" in titles
    assert "Certificates of public CAs live 47 days at most" in titles


@arbitrary(name=st.text(max_size=200))
def test_a_calendar_is_valid_whatever_a_name_holds(name: str) -> None:
    given: Any = {
        "observed": {
            "certificates": {"one": {"name": name, "names": ["a.example.com", "ü.example"]}},
            "listeners": {"li": {"protocol": "HTTPS", "protocol_port": 443, "default_tls_container_ref": "one"}},
        }
    }
    text = calendar(horizon(given))
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert "\n" not in text.replace("\r\n", "")
    parsed = icalendar.Calendar.from_ical(text)
    events = parsed.walk("VEVENT")
    assert not parsed.errors
    assert not [event.errors for event in events if event.errors]
    shown = "".join(c if c.isprintable() else " " for c in name) or "one"
    assert str(events[1]["SUMMARY"]) == f"{shown} expires"
    assert len({str(event["UID"]) for event in events}) == len(events)
