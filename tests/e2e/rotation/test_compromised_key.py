"""The drill of a compromised key: it leaves every listener, and nothing brings it back.

Three listeners have the key: one whose certificate has an earlier version, one with another Ingress that covers the
host, and one with an ELB certificate. A fourth has no replacement.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.e2e.commands.test_cert_commands import CommandLine
from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects
from tests.e2e.support.clients import held, running
from tests.e2e.support.objects import CERTIFICATE_IDS, HTTP2
from tests.e2e.support.site import Site
from tests.e2e.support.tls import fingerprint
from tests.e2e.support.waiting import until
from tests.support.certs import Pair, authority

WITHIN = 60
"""Seconds in which the key leaves every listener."""
SETTLED = 3
"""Renewals with the same key, each of which would bring it back at a reconcile."""


async def test_a_compromised_key_leaves_every_listener_and_stays_away(site: MakeSite, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    earlier, covered, by_id, alone = (site(f"drill-{n}") for n in ("earlier", "covered", "by-id", "alone"))
    good = {shop: shop.pair() for shop in (earlier, by_id)}
    stolen = {shop: shop.pair(key=key) for shop in (earlier, covered, by_id, alone)}
    wildcard = authority().issue("*.test.example")

    earlier.publish(good[earlier], {HTTP2: "true"})
    earlier.shows(good[earlier])
    earlier.put_secret(stolen[earlier])
    covered.publish(stolen[covered], {HTTP2: "true"})
    _publish_wildcard(covered, wildcard)
    identity = by_id.post_certificate(good[by_id])
    by_id.publish(None, {HTTP2: "true", CERTIFICATE_IDS: identity})
    by_id.shows(good[by_id])
    by_id.put_certificate(identity, stolen[by_id])
    alone.publish(stolen[alone], {HTTP2: "true"})
    for shop, pair in stolen.items():
        shop.shows(pair)

    replaced = {earlier: good[earlier], covered: wildcard, by_id: good[by_id]}
    clients = [client for shop in stolen for client in held(shop.address, shop.host)]
    typist = CommandLine(earlier, tmp_path)
    file = tmp_path / "stolen.key"
    file.write_text(stolen[earlier].key)
    async with running(*clients):
        began = time.monotonic()
        done = await asyncio.to_thread(typist.types, "cert", "compromised", str(file), "--reason", "drill")
        assert done.returncode == 0, done.stderr
        assert "with another key, serves again" in " ".join(done.stdout.split())
        assert "PRIVATE KEY" not in done.stdout + done.stderr
        for shop, pair in replaced.items():
            await asyncio.to_thread(shop.shows, pair, None, WITHIN - (time.monotonic() - began))
        await asyncio.to_thread(_nothing_brings_it_back, typist, earlier, by_id, identity, stolen)
        for shop, pair in replaced.items():
            assert shop.shown() == fingerprint(pair.certificate)

    assert alone.shown() == fingerprint(stolen[alone].certificate), "a site that is up is better than none"
    _is_reported(typist, alone)
    new = alone.pair()
    alone.put_secret(new)
    alone.shows(new)
    newer = earlier.pair()
    earlier.put_secret(newer)
    earlier.shows(newer)


def _publish_wildcard(shop: Site, pair: Pair) -> None:
    """Another Ingress on the same port, with a certificate that covers the host too."""
    host = f"other-{shop.host}"
    entry = [{"hosts": ["*.test.example"], "secretName": "wildcard"}]
    shop.system.apply(
        objects.pair_secret(shop.name, "wildcard", pair),
        objects.ingress(shop.name, "other", "web", [host], entry, {objects.PORT: str(shop.port), HTTP2: "true"}),
    )
    shop.shows(pair, host)


def _nothing_brings_it_back(
    typist: CommandLine, earlier: Site, by_id: Site, identity: str, stolen: dict[Site, Pair]
) -> None:
    """Try a rollback, a PUT, the repair of drift, and a touch of the Secret."""
    elb, own = earlier.elb, earlier.own_certificate()["id"]
    extension = f"/v3/{earlier.system.endpoints.elb.project_id}/certferry/certificates"
    (marked,) = [v for v in typist.says("cert", "history", earlier.host) if v["compromised"]]
    refused = elb.call("POST", f"{extension}/{own}/rollback", {"version": marked["version"], "reason": "drill"})
    assert refused.status == 409
    by_hand = typist.types("cert", "rollback", identity, "--to", "2")
    assert by_hand.returncode == 1
    assert "its key is marked as compromised" in " ".join(by_hand.stderr.split())
    body = {"certificate": stolen[by_id].certificate, "private_key": stolen[by_id].key}
    assert elb.call("PUT", by_id.system.elb_path("certificates", identity), {"certificate": body}).status == 409
    # drift on the certificate and its listener, and a Secret that is written again
    listener = earlier.listener()
    elb.want(200, "PUT", earlier.system.elb_path("listeners", listener["id"]), {"listener": {"description": "drift"}})
    for _ in range(SETTLED):
        before = _reconciles(earlier)
        earlier.put_secret(earlier.pair(key=_key(stolen[earlier])))
        until(lambda before=before: _reconciles(earlier) > before, "a reconcile")  # type: ignore[misc]
    until(
        lambda: any("its key is marked as compromised" in w["message"] for w in earlier.warnings("Ingress", "shop")),
        "the controller rejects the renewal with the same key",
    )


def _key(pair: Pair) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pair.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _metrics(shop: Site) -> str:
    with urllib.request.urlopen(shop.system.endpoints.metrics.url, timeout=10) as answer:
        text: bytes = answer.read()
    return text.decode()


def _reconciles(shop: Site) -> int:
    lines = _metrics(shop).splitlines()
    return int(float(next(x for x in lines if x.startswith("certferry_reconcile_seconds_count")).split()[-1]))


def _is_reported(typist: CommandLine, shop: Site) -> None:
    (row,) = [r for r in typist.says("cert", "ls") if shop.host in r["hosts"]]
    assert row["status"] == "compromised"
    assert "certferry cert replace" in row["next"]
    (story,) = typist.says("why", f"{shop.host}:{shop.port}", code=1)
    assert "whose key is marked as compromised" in str(story)
    until(lambda: shop.warnings("Ingress", "shop"), "an Event on the Ingress")
    assert "CertificateCompromised" in {w["reason"] for w in shop.warnings("Ingress", "shop")}
    until(lambda: 'alert="CertificateCompromised"' in _metrics(shop), "the alert")
    assert 'certferry_hosts{status="compromised"}' in _metrics(shop)


def test_marks_are_listed_and_removed_and_mistakes_are_explained(site: MakeSite, tmp_path: Path) -> None:
    shop = site("drill-marks")
    typist, file = CommandLine(shop, tmp_path), tmp_path / "file.pem"
    file.write_text(shop.pair().certificate)
    words = ("cert", "compromised", str(file))
    assert typist.types(*words, "--reason", "an old backup").returncode == 0
    (mark,) = [m for m in typist.says("cert", "compromised") if m["reason"] == "an old backup"]
    assert "an old backup" in typist.types("cert", "compromised").stdout
    assert typist.types(*words, "--remove", "--reason", "found again").returncode == 0
    assert mark["spki"] not in {m["spki"] for m in typist.says("cert", "compromised")}
    again = typist.types(*words, "--remove", "--reason", "found again")
    assert (again.returncode, "is not marked" in again.stderr) == (1, True)
    file.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for wrong, said in (
        (words, "Give --reason"),
        ((*words, "--reason", "x"), "not PEM"),
        (("cert", "compromised", "nothing.else.example", "--reason", "x"), "No certificate is"),
    ):
        done = typist.types(*wrong)
        assert done.returncode == 2, done
        assert said in done.stderr
        assert len(done.stderr.splitlines()) <= 2
