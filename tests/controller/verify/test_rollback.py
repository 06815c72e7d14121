"""A certificate that clients cannot use is rolled back and quarantined until a user resumes it."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from certferry.core.model.quarantine import mark, quarantined_mark
from certferry.core.x509.pem import Chain, parse_chain
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import Pair, authority

ALL = ("versions", "rollback")


def shop(days: float = 90) -> Pair:
    return authority().issue("shop.example.com", days=days)


def facts(pair: Pair) -> Chain:
    return parse_chain(pair.certificate)


async def running(system: System, first: Pair) -> None:
    system.shop(first)
    await system.start()
    await system.in_step()
    await served(system, first)


async def served(system: System, pair: Pair) -> None:
    def shown() -> bool:
        told = system.annotation("certferry.io/rotation")
        return bool(told) and json.loads(told)["fingerprint"] == facts(pair).fingerprint

    await until(lambda: shown() and json.loads(system.annotation("certferry.io/rotation"))["served"])


def content(system: System) -> str:
    return facts(Pair(system.our_certificate()["certificate"], "")).fingerprint


def quarantined(system: System) -> str | None:
    return quarantined_mark(system.our_certificate()["description"])


async def unusable(system: System) -> tuple[Pair, Pair]:
    """Serve a good certificate, then one that clients cannot use, and wait for the rollback."""
    good, bad = shop(), shop()
    await running(system, good)
    system.elb.unusable.add(facts(bad).fingerprint)
    system.kube.secret("demo", "shop-tls", bad)
    await until(lambda: quarantined(system) and content(system) == facts(good).fingerprint)
    return good, bad


async def test_an_unusable_certificate_is_rolled_back_within_ten_seconds(system: System) -> None:
    system.elb.extensions = ALL
    began = time.monotonic()
    good, bad = await unusable(system)
    assert time.monotonic() - began < 10
    assert (quarantined(system) or "?").startswith(facts(bad).fingerprint[:24])
    await served(system, good)
    await until(lambda: system.kube.events("Secret", "CertificateRolledBack"))
    await until(lambda: system.kube.events("Ingress", "CertificateQuarantined"))
    assert system.controller is not None
    assert "CertificateQuarantined" in [a.name for a in system.controller.alert_evaluator.alerts.value]


async def test_a_content_that_the_data_plane_rejects_is_rolled_back_at_once_with_its_sentence(system: System) -> None:
    system.elb.extensions = (*ALL, "status")
    good, bad = shop(), shop()
    await running(system, good)
    system.elb.stale_front = True
    system.elb.rejected = "Failed to load certificate chain: INVALID"
    began = time.monotonic()
    system.kube.secret("demo", "shop-tls", bad)
    await until(lambda: quarantined(system) and content(system) == facts(good).fingerprint)
    assert time.monotonic() - began < 5
    for kind in ("Secret", "Ingress"):
        await until(lambda kind=kind: system.kube.events(kind, "CertificateRolledBack"))  # type: ignore[misc]
        (event,) = system.kube.events(kind, "CertificateRolledBack")
        assert "the data plane rejects it: Failed to load certificate chain: INVALID" in event["message"]
    assert (quarantined(system) or "?").startswith(facts(bad).fingerprint[:24])


async def test_a_rollback_prefers_a_version_that_covers_the_hosts(system: System) -> None:
    system.elb.extensions = (*ALL, "status")
    good, bad = shop(), shop()
    await running(system, good)
    await system.stop()
    other = authority().issue("other.example.com")
    system.elb.replace(system.our_certificate()["id"], other.certificate, other.key)
    system.elb.rejected = "Failed to load certificate chain: INVALID"
    system.elb.stale_front = True
    system.kube.secret("demo", "shop-tls", bad)
    await system.start()
    await until(lambda: quarantined(system) and content(system) == facts(good).fingerprint)


async def test_quarantined_content_is_not_tried_again_after_a_restart(system: System) -> None:
    system.elb.extensions = ALL
    good, bad = await unusable(system)
    await system.stop()
    writes = len(system.elb.writes)
    await system.start()
    await system.in_step()
    system.kube.secret("demo", "shop-tls", bad)  # the same content once more: the fast path's turn
    await until(lambda: system.kube.events("Secret", "CertificateQuarantined"))
    assert [w for w in system.elb.writes[writes:] if "certificates" in w[1]] == []
    assert content(system) == facts(good).fingerprint


async def test_new_content_ends_the_quarantine(system: System) -> None:
    system.elb.extensions = ALL
    await unusable(system)
    newer = shop()
    system.kube.secret("demo", "shop-tls", newer)
    await served(system, newer)
    await until(lambda: quarantined(system) is None)


async def test_a_new_chain_under_the_same_leaf_is_a_new_content(system: System) -> None:
    system.elb.extensions = ALL
    _, bad = await unusable(system)
    system.elb.unusable.clear()
    whole = Pair(bad.certificate + authority().certificate, bad.key)
    system.kube.secret("demo", "shop-tls", whole)
    await served(system, whole)
    await until(lambda: quarantined(system) is None)


async def test_resuming_ends_the_quarantine(system: System) -> None:
    system.elb.extensions = ALL
    _, bad = await unusable(system)
    system.elb.unusable.clear()
    secret = system.kube.objects["secrets", "demo", "shop-tls"]
    secret["metadata"]["annotations"] = {"certferry.io/resume": facts(bad).fingerprint}
    system.kube.put("secrets", "demo", "shop-tls", secret)
    await served(system, bad)
    assert quarantined(system) is None


async def test_a_rollback_interrupted_by_a_crash_is_completed(system: System) -> None:
    good, bad = shop(), shop()
    await running(system, good)
    system.kube.secret("demo", "shop-tls", bad)
    await served(system, bad)
    await system.stop()
    system.elb.extensions = ALL
    ours = system.our_certificate()
    said = json.loads(ours["description"]) | {"quarantined": mark(facts(bad))}
    ours = system.elb.objects["certificates"][ours["id"]]
    ours["description"] = msgspec.json.encode(said).decode()
    await system.start()
    await until(lambda: content(system) == facts(good).fingerprint)
    assert quarantined(system)


@pytest.mark.parametrize("why", ["no versions", "expired"])
async def test_without_a_valid_version_the_certificate_stays_with_a_warning(system: System, why: str) -> None:
    first, bad = shop(days=-1 if why == "expired" else 90), shop()
    system.elb.extensions = () if why == "no versions" else ALL
    await running(system, first)
    system.elb.unusable.add(facts(bad).fingerprint)
    system.kube.secret("demo", "shop-tls", bad)
    await until(lambda: system.kube.events("Secret", "CertificateRolledBack"))
    (event,) = system.kube.events("Secret", "CertificateRolledBack")
    assert "no previous version available" in event["message"]
    assert content(system) == facts(bad).fingerprint
    assert quarantined(system) is None


async def test_an_unreachable_listener_triggers_no_rollback(system: System) -> None:
    system.elb.extensions = ALL
    good, new = shop(), shop()
    await running(system, good)
    front = system.elb._front
    assert front is not None
    front.close()
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: system.kube.events("Ingress", "CertificateNotServed"))
    (event,) = system.kube.events("Ingress", "CertificateNotServed")
    assert "cannot be reached" in event["message"]
    assert content(system) == facts(new).fingerprint
    assert system.controller is not None
    watch = system.controller.alert_evaluator
    await until(lambda: [a.name for a in watch.alerts.value] == ["CertificateUnreachable"])


async def test_a_listener_that_still_serves_the_old_one_triggers_no_rollback(system: System) -> None:
    system.elb.extensions = ALL
    good, new = shop(), shop()
    await running(system, good)
    system.elb.stale_front = True
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: system.kube.events("Ingress", "CertificateNotServed"))
    assert content(system) == facts(new).fingerprint


async def test_a_rollback_never_chooses_a_compromised_key(system: System) -> None:
    """Also if it is the newest of the valid versions."""
    system.elb.extensions = ALL
    oldest, stolen, bad = shop(), shop(), shop()
    system.compromised = frozenset({facts(stolen).spki})
    await running(system, oldest)
    system.elb.replace(system.our_certificate()["id"], stolen.certificate, stolen.key)
    system.elb.unusable.add(facts(bad).fingerprint)
    system.kube.secret("demo", "shop-tls", bad)
    await until(lambda: quarantined(system) and content(system) == facts(oldest).fingerprint)
