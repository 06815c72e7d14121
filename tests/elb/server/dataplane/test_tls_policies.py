"""TLS policies by real handshakes: what each lets in, and what it refuses."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from certferry.core.envoy.listeners.tls import ALWAYS, POLICIES, PROTOCOLS, served
from certferry.core.model.elb import SecurityPolicy
from tests.elb.support.client_hello import SUITES, VERSIONS, choice
from tests.elb.support.dataplane import Plane, World, free_port, handshake, https, running, trusting

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = {
    "AES128-SHA256",
    "AES256-SHA256",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES256-SHA384",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
}
"""What BoringSSL has not (docs/data-plane.md says the same)."""
CUSTOM = {
    "own-one": SecurityPolicy(protocols=("TLSv1.2",), ciphers=("ECDHE-RSA-AES128-GCM-SHA256",)),
    "own-1-3": SecurityPolicy(protocols=("TLSv1.2", "TLSv1.3"), ciphers=("AES256-SHA256", "TLS_AES_128_GCM_SHA256")),
    "own-gap": SecurityPolicy(
        protocols=("TLSv1", "TLSv1.2"), ciphers=("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA")
    ),
}
NAME = "p.example.com"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane() -> AsyncIterator[Plane]:
    pair = {"rsa": {"domain": [NAME], "key": "RSA-2048"}, "ec": {"domain": [NAME]}}
    listeners: dict[str, Any] = {}
    written = https(0, pair, "rsa", "ec")
    for name in POLICIES:
        listeners[name] = written["listeners"]["web"] | {"protocol_port": free_port(), "tls_ciphers_policy": name}
    for name in CUSTOM:
        # a custom policy wins over a named one
        listeners[name] = written["listeners"]["web"] | {
            "protocol_port": free_port(),
            "tls_ciphers_policy": "tls-1-0-with-1-3",
            "security_policy_id": name,
        }
    policies = {n: {"protocols": list(p.protocols), "ciphers": list(p.ciphers)} for n, p in CUSTOM.items()}
    world = World(**written | {"listeners": listeners, "security_policies": policies})
    async with running(world) as plane:
        yield plane


@pytest.mark.parametrize("name", POLICIES)
async def test_a_system_policy_allows_only_its_versions_and_suites(plane: Plane, name: str) -> None:
    policy = POLICIES[name]
    wanted = {
        (version, suite)
        for version in policy.protocols
        for suite in policy.ciphers
        if suite not in MISSING and _goes(version, suite)
    }
    assert wanted
    assert await _taken(plane, name) == wanted


async def test_a_custom_policy_of_one_suite_negotiates_it(plane: Plane) -> None:
    assert await _taken(plane, "own-one") == {("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")}


async def test_a_custom_policy_without_a_usable_older_suite_allows_only_tls_1_3(plane: Plane) -> None:
    assert await _taken(plane, "own-1-3") == {("TLSv1.3", suite) for suite in ALWAYS}
    told = served(CUSTOM["own-1-3"])
    assert (told.missing_protocols, told.missing_ciphers) == (("TLSv1.2",), ("AES256-SHA256",))


async def test_of_versions_with_a_gap_the_newest_are_used(plane: Plane) -> None:
    assert await _taken(plane, "own-gap") == {("TLSv1.2", suite) for suite in CUSTOM["own-gap"].ciphers}
    assert served(CUSTOM["own-gap"]).missing_protocols == ("TLSv1",)


async def test_missing_credentials_are_reported() -> None:
    for policy in POLICIES.values():
        told = served(policy)
        assert set(told.missing_ciphers) == MISSING & set(policy.ciphers)
        assert told.protocols == policy.protocols


async def test_a_handshake_succeeds_only_within_its_policy(plane: Plane) -> None:
    port = _port(plane, "tls-1-2-strict-no-cbc")
    assert await handshake(port, NAME) == plane.world.fingerprint("ec")
    modern = trusting()
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(ssl.SSLError):
        await handshake(port, NAME, modern)


async def _taken(plane: Plane, listener: str) -> set[tuple[str, str]]:
    """Every (version, suite) with which a handshake goes on."""
    port, found = _port(plane, listener), set()
    for version in PROTOCOLS:
        for suite in SUITES:
            if suite.startswith("TLS_") == (version == "TLSv1.3"):
                chosen = await choice(port, NAME, version, suite)
                if chosen.suite:
                    assert (chosen.version, chosen.suite) == (VERSIONS[version], SUITES[suite])
                    found.add((version, suite))
    return found


def _goes(version: str, suite: str) -> bool:
    """Whether a suite exists in a version: those for AEAD and SHA-2 came with 1.2, 1.3 has its own."""
    if suite.startswith("TLS_") or version == "TLSv1.3":
        return suite.startswith("TLS_") and version == "TLSv1.3"
    return version == "TLSv1.2" or suite.endswith("-SHA")


def _port(plane: Plane, listener: str) -> int:
    return plane.world.state.listeners[listener].protocol_port
