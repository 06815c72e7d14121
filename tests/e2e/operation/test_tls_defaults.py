"""What a listener negotiates whose Ingress says nothing of TLS and HTTP/2, and what an annotation changes."""

from __future__ import annotations

import socket
import ssl

from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects, tls
from tests.e2e.support.site import Site
from tests.e2e.support.waiting import until

POLICY = "kubernetes.io/elb.tls-ciphers-policy"


def negotiated(site: Site, version: ssl.TLSVersion) -> str | None:
    """Return the protocol by ALPN of a client of one TLS version; `refused` without a handshake."""
    context = tls.trusting("h2", "http/1.1")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(site.address, timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=site.host) as connection:
                return connection.selected_alpn_protocol()
        except ssl.SSLError:
            return "refused"


def test_a_silent_ingress_gets_tls_1_2_and_1_3_with_http2_and_an_annotation_wins(site: MakeSite) -> None:
    shop = site("tls-defaults")
    pair = shop.pair()
    shop.publish(pair)
    shop.shows(pair)
    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert [negotiated(shop, version) for version in versions] == ["h2", "h2"]
    shop.system.apply(shop.ingress({POLICY: "tls-1-2", objects.HTTP2: "false"}))
    until(lambda: negotiated(shop, versions[0]) == "http/1.1", "the listener has no HTTP/2")
    assert negotiated(shop, versions[1]) == "refused"
