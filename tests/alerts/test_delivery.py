from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certferry.alerts import Webhook, run
from certferry.alerts import sender as deliver
from certferry.alerts.repeat_tracker import RepeatTracker
from certferry.alerts.signature import SIGNATURE, TIMESTAMP, genuine, headers
from certferry.core.diagnosis.alert import Alert
from certferry.runtime.latest import Latest
from certferry.settings import AlertSettings, UserError
from tests.alerts.receiver import KEY, receiver
from tests.cli.test_cli import certferry, refusal
from tests.controller.support.fake_kube import until

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATE = Alert(name="RenewalLate", subject="shop", summary="late", hosts=("shop.example.com",))
PARKED = Alert(name="CertificateQuarantined", subject="shop", summary="parked")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "webhook.key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


@contextmanager
def delivering(standing: Latest[tuple[Alert, ...]], settings: AlertSettings) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()
    task = asyncio.get_running_loop().create_task(run(standing, settings, lambda e: counted.update([e])))
    try:
        yield counted
    finally:
        task.cancel()


async def test_an_alert_is_told_when_it_begins_and_when_it_ends(key: Path) -> None:
    standing: Latest[tuple[Alert, ...]] = Latest((LATE,))
    async with receiver() as there:
        with delivering(standing, AlertSettings(webhook=there.url, webhook_secret_file=key)):
            await until(lambda: there.told() == [("RenewalLate", "firing")])
            standing.set(())
            await until(lambda: there.told()[1:] == [("RenewalLate", "resolved")])
        assert there.genuine == [True, True]
        (alert,) = there.bodies[0]["alerts"]
        assert alert["hosts"] == ["shop.example.com"]
        assert alert["runbook"].endswith("runbooks/RenewalLate.md")


async def test_a_receiver_that_is_away_gets_what_stands_when_it_is_back(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "FIRST", 0.01)
    standing: Latest[tuple[Alert, ...]] = Latest((LATE,))
    async with receiver() as there:
        there.failures = 3
        with delivering(standing, AlertSettings(webhook=there.url)) as counted:
            await until(lambda: there.posts >= 1)
            standing.set((PARKED,))
            await until(lambda: ("CertificateQuarantined", "firing") in there.told())
        assert counted["failed"] == 3
        assert there.told() == [("CertificateQuarantined", "firing")]


async def test_alertmanager_takes_labels_and_annotations() -> None:
    standing: Latest[tuple[Alert, ...]] = Latest((LATE,))
    async with receiver() as there:
        with delivering(standing, AlertSettings(webhook=there.url, webhook_format="alertmanager")):
            await until(lambda: there.bodies)
        ((alert,),) = there.bodies
        assert alert["labels"]["alertname"] == "RenewalLate"
        assert alert["labels"]["severity"] == "warning"
        assert alert["startsAt"] < alert["endsAt"]


def test_a_standing_alert_is_told_again_only_after_its_time() -> None:
    ledger = RepeatTracker(timedelta(hours=4))
    ledger.taken(ledger.due((LATE,), NOW), NOW)
    assert ledger.due((LATE,), NOW + timedelta(hours=3)) == ()
    assert [t.since for t in ledger.due((LATE,), NOW + timedelta(hours=4))] == [NOW]


def test_an_alert_that_ended_untold_is_not_told() -> None:
    ledger = RepeatTracker(timedelta(hours=4))
    assert [t.status for t in ledger.due((LATE,), NOW)] == ["firing"]
    assert ledger.due((), NOW) == ()


def test_a_changed_body_or_an_old_one_is_not_genuine() -> None:
    given = headers(KEY, b"body", 1000)
    assert genuine(KEY, given, b"body", 1200)
    assert not genuine(KEY, given, b"other", 1000)
    assert not genuine(b"another key", given, b"body", 1000)
    assert not genuine(KEY, given, b"body", 1301)
    assert not genuine(KEY, {TIMESTAMP: "", SIGNATURE: ""}, b"body", 1000)


def test_a_key_that_others_can_read_is_refused(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        Webhook(AlertSettings(webhook="http://127.0.0.1:9/", webhook_secret_file=key))


@pytest.mark.process
async def test_the_command_tells_whether_a_test_alert_arrives(key: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    async with receiver() as there:
        settings.write_text(f"alerts: {{webhook: '{there.url}', webhook_secret_file: {key}}}")
        done = await asyncio.to_thread(certferry, "alerts", "test", "--config", settings)
        assert done.returncode == 0, done.stderr
        assert there.told() == [("Test", "firing"), ("Test", "resolved")]
        assert there.genuine == [True, True]
        there.failures = 1
        line = refusal(await asyncio.to_thread(certferry, "alerts", "test", "--config", settings), code=1)
        assert "500" in line
    assert "alerts.webhook" in refusal(await asyncio.to_thread(certferry, "alerts", "test"))
