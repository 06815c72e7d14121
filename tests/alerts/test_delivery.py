from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from certferry.alerts import sender
from certferry.alerts.repeat_tracker import RepeatTracker
from certferry.alerts.sender import run
from certferry.alerts.signature import SIGNATURE, TIMESTAMP, genuine, headers
from certferry.alerts.webhook import Webhook
from certferry.core.diagnosis.alert import Alert
from certferry.runtime.latest import Latest
from certferry.settings import AlertSettings, UserError
from tests.alerts.receiver import KEY, receiver
from tests.cli.test_cli import certferry, refusal
from tests.controller.support.fake_kube import until

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATE = Alert(name="RenewalLate", subject="shop", summary="late", hosts=("shop.example.com",))
QUARANTINED = Alert(name="CertificateQuarantined", subject="shop", summary="quarantined")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "webhook.key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


@contextmanager
def delivering(firing: Latest[tuple[Alert, ...]], settings: AlertSettings) -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()
    task = asyncio.get_running_loop().create_task(run(firing, settings, lambda e: counted.update([e])))
    try:
        yield counted
    finally:
        task.cancel()


async def test_an_alert_is_posted_when_it_begins_and_when_it_ends(key: Path) -> None:
    firing: Latest[tuple[Alert, ...]] = Latest((LATE,))
    async with receiver() as server:
        with delivering(firing, AlertSettings(webhook=server.url, webhook_secret_file=key)):
            await until(lambda: server.alerts() == [("RenewalLate", "firing")])
            firing.set(())
            await until(lambda: server.alerts()[1:] == [("RenewalLate", "resolved")])
        assert server.genuine == [True, True]
        (alert,) = server.bodies[0]["alerts"]
        assert alert["hosts"] == ["shop.example.com"]
        assert alert["runbook"].endswith("runbooks/RenewalLate.md")


async def test_an_unavailable_receiver_gets_the_present_alerts_when_it_returns(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FIRST", 0.01)
    firing: Latest[tuple[Alert, ...]] = Latest((LATE,))
    async with receiver() as server:
        server.failures = 3
        with delivering(firing, AlertSettings(webhook=server.url)) as counted:
            await until(lambda: server.posts >= 1)
            firing.set((QUARANTINED,))
            await until(lambda: ("CertificateQuarantined", "firing") in server.alerts())
        assert counted["failed"] == 3
        assert server.alerts() == [("CertificateQuarantined", "firing")]


async def test_the_alertmanager_format_has_labels_and_annotations() -> None:
    firing: Latest[tuple[Alert, ...]] = Latest((LATE,))
    async with receiver() as server:
        with delivering(firing, AlertSettings(webhook=server.url, webhook_format="alertmanager")):
            await until(lambda: server.bodies)
        ((alert,),) = server.bodies
        assert alert["labels"]["alertname"] == "RenewalLate"
        assert alert["labels"]["severity"] == "warning"
        assert alert["startsAt"] < alert["endsAt"]


def test_a_firing_alert_is_posted_again_only_after_the_repeat_interval() -> None:
    tracker = RepeatTracker(timedelta(hours=4))
    tracker.delivered(tracker.due((LATE,), NOW), NOW)
    assert tracker.due((LATE,), NOW + timedelta(hours=3)) == ()
    assert [t.since for t in tracker.due((LATE,), NOW + timedelta(hours=4))] == [NOW]


def test_a_compromised_key_is_posted_each_hour_whatever_the_interval() -> None:
    served = msgspec.structs.replace(LATE, name="CertificateCompromised")
    hour = timedelta(hours=1)
    tracker = RepeatTracker(4 * hour)
    tracker.delivered(tracker.due((served, LATE), NOW), NOW)
    assert tracker.next_repeat(NOW) == NOW + hour
    assert [t.alert for t in tracker.due((served, LATE), NOW + hour)] == [served]


def test_an_alert_that_ended_before_its_delivery_is_never_posted() -> None:
    tracker = RepeatTracker(timedelta(hours=4))
    assert [t.status for t in tracker.due((LATE,), NOW)] == ["firing"]
    assert tracker.due((), NOW) == ()


def test_a_changed_body_or_an_old_timestamp_fails_verification() -> None:
    given = headers(KEY, b"body", 1000)
    assert genuine(KEY, given, b"body", 1200)
    assert not genuine(KEY, given, b"other", 1000)
    assert not genuine(b"another key", given, b"body", 1000)
    assert not genuine(KEY, given, b"body", 1301)
    assert not genuine(KEY, {TIMESTAMP: "", SIGNATURE: ""}, b"body", 1000)


def test_a_key_that_other_users_can_read_is_rejected(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        Webhook(AlertSettings(webhook="http://127.0.0.1:9/", webhook_secret_file=key))


@pytest.mark.process
async def test_the_test_command_reports_whether_the_alert_arrives(key: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    async with receiver() as server:
        settings.write_text(f"alerts: {{webhook: '{server.url}', webhook_secret_file: {key}}}")
        done = await asyncio.to_thread(certferry, "alerts", "test", "--config", settings)
        assert done.returncode == 0, done.stderr
        assert server.alerts() == [("Test", "firing"), ("Test", "resolved")]
        assert server.genuine == [True, True]
        server.failures = 1
        line = refusal(await asyncio.to_thread(certferry, "alerts", "test", "--config", settings), code=1)
        assert "500" in line
    assert "alerts.webhook" in refusal(await asyncio.to_thread(certferry, "alerts", "test"))
