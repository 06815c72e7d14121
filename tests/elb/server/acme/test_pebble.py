"""Issuance at a real CA, with a real Envoy that answers its challenges."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from certferry.core.x509.pem import parse_chain
from tests.elb.support.ca import Site, issuing

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Port 80 admits no client of ours, and redirects every request."""
    folder = tmp_path_factory.mktemp("pebble")
    hook = folder / "hook"
    hook.write_text(HOOK.replace("LOG", str(folder / "hook.log")))
    hook.chmod(0o700)
    with issuing(folder, {"dns_hook": hook}) as site:
        site.issuer()
        for names, why in ((["early.example.com"], "port 80"), (["*.example.com"], "dns-01")):
            refused = site.api.extension("POST", "/orders", {"names": names, "issuer": "pebble"})
            assert refused.status == 409, refused.body
            assert why in refused.sentence
        assert "new-order" not in site.pebble.log.read_text()
        nobody = site.api.make("ipgroup", name="nobody", ip_list=[{"ip": "192.0.2.1"}])
        listener = site.open_port_80(
            ipgroup={"ipgroup_id": nobody["id"], "enable_ipgroup": True, "type": "white"}, enhance_l7policy_enable=True
        )
        config = {"status_code": "308", "protocol": "HTTPS", "port": "443"}
        site.api.make("l7policy", listener_id=listener["id"], action="REDIRECT_TO_URL", redirect_url_config=config)
        hook.with_name("dns").write_text(site.pebble.dns)
        yield site


HOOK = """#!/bin/sh
echo "$@" >> LOG
case $1 in
present) body="{\\"host\\": \\"$2.\\", \\"value\\": \\"$3\\"}"; path=set-txt ;;
cleanup) body="{\\"host\\": \\"$2.\\"}"; path=clear-txt ;;
esac
case $2 in *broken*) echo "the zone is locked" >&2; exit 3 ;; esac
python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], sys.argv[2].encode())' \\
    "$(cat "$(dirname "$0")/dns")/$path" "$body"
"""


def test_a_certificate_is_issued_by_http_01_through_redirect_and_access_list(site: Site) -> None:
    order = site.order("www.example.com", "example.com")
    certificate = site.until_issued(order["id"])
    chain = parse_chain(certificate["certificate"])
    assert chain.names == ("example.com", "www.example.com")
    assert certificate["domain"] == "example.com,www.example.com"
    assert site.show(order["id"])["next_at"] < certificate["expire_time"]
    assert get(site, "/.well-known/acme-challenge/x") == 403


def test_a_renewal_has_a_new_key_and_keeps_id_and_earlier_version(site: Site) -> None:
    order = site.order("renewed.example.com")
    first = site.until_issued(order["id"])
    assert site.api.extension("POST", f"/orders/{order['id']}/renew").status == 200
    second = site.until_issued(order["id"], version=2)
    old, new = parse_chain(first["certificate"]), parse_chain(second["certificate"])
    assert first["id"] == second["id"]
    assert old.spki != new.spki
    versions = site.api.extension("GET", f"/certificates/{first['id']}/versions").body["versions"]
    assert [v["via"] for v in versions] == ["issuance", "issuance"]
    back = site.api.extension("POST", f"/certificates/{first['id']}/rollback", {})
    assert back.body["certificate"]["certferry"]["digest"] == old.digest


def test_a_certificate_is_renewed_when_the_ca_says_so(site: Site) -> None:
    order = site.order("ari.example.com", profile="shortlived", key_type="RSA-2048")
    certificate = site.until_issued(order["id"])
    chain = parse_chain(certificate["certificate"])
    assert chain.key == "RSA-2048"
    assert chain.not_after - chain.not_before < timedelta(days=7)
    shown = site.until(order["id"], lambda shown: "suggests" in shown["reason"])
    assert shown["next_at"] < certificate["expire_time"]
    now = datetime.now(UTC)
    window = {"start": (now - timedelta(hours=2)).isoformat(), "end": (now - timedelta(hours=1)).isoformat()}
    answer = json.dumps({"suggestedWindow": window})
    site.pebble.ask(f"{site.pebble.management}/set-renewal-info/", {"certificate": chain.pem, "ariResponse": answer})
    site.stop()
    site.start()
    renewed = site.until_issued(order["id"], version=2)
    assert parse_chain(renewed["certificate"]).serial != chain.serial


def test_a_failed_order_changes_nothing_and_shows_the_sentence_of_the_ca(site: Site) -> None:
    order = site.order("blocked-domain.example")
    failed = site.until(order["id"], lambda shown: shown["state"] == "failed")
    assert "blocked-domain.example" in failed["error"]
    assert failed["failures"] == 1
    assert failed["certificate_id"] is None
    assert failed["next_at"] > datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_wildcards_are_issued_by_dns_01(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    order = site.order("*.wild.example.com", "wild.example.com", challenge="dns-01")
    certificate = site.until_issued(order["id"])
    assert parse_chain(certificate["certificate"]).names == ("*.wild.example.com", "wild.example.com")
    assert site.hooked("present _acme-challenge.wild.example.com ") == 2
    assert site.hooked("cleanup _acme-challenge.wild.example.com ") == 2


def test_the_last_words_of_a_failing_hook_are_shown(site: Site) -> None:
    order = site.order("broken.example.com", challenge="dns-01")
    failed = site.until(order["id"], lambda shown: shown["state"] == "failed")
    assert "failed with code 3: the zone is locked" in failed["error"]


def test_a_ca_with_an_unknown_certificate_is_reported_and_asked_again(site: Site) -> None:
    site.issuer("untrusted", ca_certificates="")
    order = site.order("untrusted.example.com", issuer="untrusted")
    shown = site.until(order["id"], lambda shown: bool(shown["error"]))
    assert "certificate" in shown["error"]
    assert shown["failures"] == 0
    assert site.api.extension("DELETE", f"/orders/{order['id']}").status == 204


def get(site: Site, path: str, host: str = "www.example.com") -> int:
    connection = http.client.HTTPConnection(site.address, site.port, timeout=10)
    connection.request("GET", path, headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status
