"""Break-glass from end to end, and a backup of a running system that brings back what was served."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeSite
from tests.e2e.support.site import SECRET, Site
from tests.e2e.support.system import System
from tests.e2e.support.tls import fingerprint
from tests.e2e.support.waiting import until


@pytest.fixture(scope="module")
def system(place: Path) -> Iterator[System]:
    """Run a system whose controller polls the ELB often, so that the end of a break-glass is seen at once."""
    running = System(place / "s", {"CERTFERRY_CONTROLLER_RESYNC": "0.3"})
    running.start()
    yield running
    running.stop()


def extension(shop: Site, status: int, method: str, path: str, body: Any = None) -> Any:
    base = f"/v3/{shop.system.endpoints.elb.project_id}/certferry/certificates"
    return shop.elb.want(status, method, f"{base}/{path}", body)


def certferry(system: System, *arguments: str) -> str:
    command = [sys.executable, "-m", "certferry", *arguments, "--state", str(system.state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=system.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_break_glass_certificate_is_reported_and_reverted_at_its_end(site: MakeSite) -> None:
    shop = site("fire")
    first, emergency = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    identity = str(shop.own_certificate()["id"])
    until(lambda: bound_slots(shop, identity) == [("default", "accepted")], "its status says it is served")

    opening = {"reason": "the issuer is down", "until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    extension(shop, 201, "POST", f"{identity}/break-glass", opening)
    body = {"certificate": emergency.certificate, "private_key": emergency.key}
    path = shop.system.elb_path("certificates", identity)
    shop.elb.want(200, "PUT", path, {"certificate": body})
    shop.shows(emergency)
    told = until(lambda: warned(shop, "BreakGlassActive"), "the controller reports it")
    assert "the issuer is down" in told
    assert shop.shown() == fingerprint(emergency.certificate), "and does not repair it"

    extension(shop, 204, "DELETE", f"{identity}/break-glass")
    shop.shows(first)


def test_a_backup_of_the_running_system_brings_back_what_was_served(
    system: System, site: MakeSite, place: Path
) -> None:
    shop = site("saved")
    first, second = shop.pair(), shop.pair()
    identity = shop.post_certificate(first)
    shop.publish(None, {"kubernetes.io/elb.tls-certificate-ids": identity})
    shop.shows(first)
    certferry(system, "backup", str(place / "saved.db"))
    certferry(system, "rotate-encryption-key")
    shop.put_certificate(identity, second)
    shop.shows(second)

    # the key of that time is in no backup: keep the older key with the older backups
    (place / "vault").mkdir()
    certferry(system, "backup", str(place / "later.db"), "--key-out", str(place / "vault" / "key"))
    third = shop.pair()
    shop.put_certificate(identity, third)
    shop.shows(third)
    system.stop()
    certferry(system, "restore", str(place / "later.db"), "--key", str(place / "vault" / "key"))
    system.start()
    shop.shows(second)


def bound_slots(shop: Site, identity: str) -> list[tuple[str, str]]:
    status = extension(shop, 200, "GET", f"{identity}/status")["status"]
    return [(one["seat"], one["state"]) for one in status["listeners"]]


def warned(shop: Site, reason: str) -> str:
    return next((e["message"] for e in shop.warnings("Secret", SECRET) if e["reason"] == reason), "")
