"""Golden cases of the checks, and of what may replace what. Certificates are made at run time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from certferry.core import checks
from tests.core.support import certificates as pki
from tests.core.support.fixtures import NOW, chain
from tests.support import golden


@pytest.mark.parametrize("path", golden.cases("checks"))
def test_which_certificate_may_replace_another(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _replacing, rewrite=pytestconfig.getoption("golden"))


@pytest.mark.parametrize("path", golden.cases("certificates"))
def test_each_check(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _judged, rewrite=pytestconfig.getoption("golden"))


def test_every_check_has_a_golden_case() -> None:
    said = "".join(
        path.read_text()
        for stage in ("certificates", "checks")
        for path in (golden.TESTDATA / stage).glob("*.out.yaml")
    )
    reasons = {
        "CertificateCompromised",
        "CertificateExpired",
        "CertificateNotYetValid",
        "CertificateUnusable",
        "ChainBroken",
        "ChainExpired",
        "ChainIncomplete",
        "ChainOutOfOrder",
        "ClientAuthRemoved",
        "ClockSkew",
        "HostNotCovered",
        "KeyReused",
        "KeyTypeUncommon",
        "LifetimeTooLong",
        "LimitExceeded",
        "SniConflict",
        "NamesRemoved",
        "NamesUnused",
        "SubjectAltNameMissing",
        "ServerAuthMissing",
        "WeakSignature",
        "WildcardMismatch",
    }
    assert [r for r in sorted(reasons) if f" {r}: " not in said] == []


def test_the_invariant_overrides_every_policy() -> None:
    """However lenient the policy, an expired one does not replace a valid one."""
    lenient = checks.CheckPolicy(actions={"refuse": "off", "warn": "off", "info": "off"})
    good = chain("old")
    expired = chain("new", not_after=NOW.replace(day=1))
    assert checks.findings(expired, good, ("shop.example.com",), NOW, lenient) == ()
    refused = checks.refusal(expired, good, ("shop.example.com",), NOW, lenient)
    assert refused is not None
    assert refused.reason == "CertificateExpired"


def _replacing(given: Any) -> Any:
    hosts = tuple(given.get("hosts", ()))
    new = chain("new", **given["new"])
    old = chain("old", **given["old"]) if "old" in given else None
    compromised = frozenset(given.get("compromised", ()))
    objection = checks.objection(new, old, hosts, NOW, compromised)
    return {
        "findings": _told(checks.findings(new, old, hosts, NOW, compromised=compromised)),
        "objection": objection.sentence if objection else None,
        "look again": checks.next_instant(new, NOW),
    }


def _judged(given: Any) -> Any:
    hosts = tuple(given.get("hosts", ("shop.example.com",)))
    policy = msgspec.convert(given.get("policy", {}), checks.CheckPolicy)
    new = pki.chain(given)
    old = pki.chain(given["before"]) if "before" in given else None
    key = new.spki if given.get("key", "its own") == "its own" else "another"
    found = checks.findings(
        new, old, hosts, NOW, policy, taken=given.get("taken", {}), unused=tuple(given.get("unused", ())), key=key
    )
    refusal = checks.refusal(new, old, hosts, NOW, policy)
    return {"findings": _told(found), "replaces": f"no: {refusal.reason}" if refusal else "yes"}


def _told(found: tuple[checks.Finding, ...]) -> list[str]:
    return [f"{f.severity} {f.reason}: {f.sentence}" for f in found]
