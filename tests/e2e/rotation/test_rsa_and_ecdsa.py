"""An RSA and an ECDSA certificate for one host: each client is shown the kind that it takes, before and after a renewal."""

from __future__ import annotations

import json
import ssl

from certferry.core.x509.pem import parse_chain
from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects, tls
from tests.e2e.support.site import Site
from tests.e2e.support.waiting import until
from tests.support.certs import Pair, authority, rsa_key

ROTATION = "certferry.io/rotation"


def only(kind: str) -> ssl.SSLContext:
    """Return a client that accepts certificates of one key kind."""
    context = tls.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
    return context


def shows(site: Site, kind: str, pair: Pair) -> None:
    wanted = tls.fingerprint(pair.certificate)
    until(lambda: tls.handshake(site.address, site.host, only(kind)) == wanted, f"{kind} clients see theirs")


def test_each_client_gets_the_key_type_it_supports(site: MakeSite) -> None:
    shop = site("both-kinds")
    rsa, ecdsa = shop.pair(key=rsa_key()), shop.pair()
    shop.publish(ecdsa)
    entries = [{"hosts": [shop.host], "secretName": name} for name in ("shop-tls", "shop-rsa")]
    ingress = shop.ingress()
    ingress["spec"]["tls"] = entries
    shop.system.apply(objects.pair_secret(shop.name, "shop-rsa", rsa), ingress)
    shows(shop, "ECDSA", ecdsa)
    shows(shop, "RSA", rsa)

    renewed = authority().issue(shop.host, key=rsa_key())
    shop.system.apply(objects.pair_secret(shop.name, "shop-rsa", renewed))
    shows(shop, "RSA", renewed)
    shows(shop, "ECDSA", ecdsa)
    until(lambda: told(shop) == parse_chain(renewed.certificate).fingerprint, "the rotation is proved")


def told(site: Site) -> str:
    """Return the fingerprint of the last served rotation in the Ingress annotation."""
    ingress = site.get("apis/networking.k8s.io/v1", "ingresses", "shop")
    rotation = json.loads(ingress["metadata"]["annotations"][ROTATION])
    assert rotation["served"]
    return str(rotation["fingerprint"])
