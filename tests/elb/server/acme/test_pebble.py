"""Issuance at a real CA, with a real Envoy that answers its challenges."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
        closed = site.api.make("ipgroup", name="closed", ip_list=[{"ip": "192.0.2.1"}])
        listener = site.open_port_80(
            ipgroup={"ipgroup_id": closed["id"], "enable_ipgroup": True, "type": "white"}, enhance_l7policy_enable=True
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


def test_the_commands_add_an_issuer_issue_renew_and_cancel(site: Site, tmp_path: Path) -> None:
    run = cli(site, tmp_path)
    (tmp_path / "root.pem").write_text(site.pebble.ca_certificates)
    added = ("issuer", "add", "mine", "--directory", site.pebble.directory, "--ca-file", str(tmp_path / "root.pem"))
    assert "--agree-tos" in run(*added, code=2)
    assert "certferry cert issue NAME --issuer mine" in run(*added, "--agree-tos")
    assert "mine  " in run("issuer", "ls")
    issued = run("cert", "issue", "cli.example.com", "--issuer", "mine")
    assert "issued for cli.example.com. Next renewal: " in issued
    assert "already" in run("cert", "issue", "cli.example.com", "--issuer", "mine", code=1)
    assert "issued for cli.example.com" in run("cert", "renew", "cli.example.com")
    (order,) = [o for o in json.loads(run("cert", "orders", "-o", "json", code=None)) if o["issuer"] == "mine"]
    assert order["status"] == "issued"
    assert site.version(order["certificate_id"]) == 2
    failed = run("cert", "issue", "blocked-domain.example", "late.example.com", "--issuer", "mine", code=1)
    assert "failed. Next attempt: " in failed
    assert "blocked-domain.example" in failed
    assert "has orders" in run("issuer", "remove", "mine", code=1)
    run("cert", "cancel", "cli.example.com")
    run("cert", "cancel", "late.example.com")
    assert "removed" in run("issuer", "remove", "mine")
    assert site.api.show("certificate", order["certificate_id"])


def cli(site: Site, directory: Path) -> Callable[..., str]:
    account = site.api.account
    keys = {"access_key": account.access_key, "secret_key": account.secret_key, "project_id": site.api.project_id}
    credentials, settings = directory / "credentials.json", directory / "settings.json"
    credentials.touch(0o600)
    credentials.write_text(json.dumps(keys))
    place = {"url": site.api.origin, "credentials_file": str(credentials)}
    settings.write_text(json.dumps({"clusters": [{"name": "edge", "elb": place}]}))

    def run(*words: str, code: int | None = 0) -> str:
        command = [sys.executable, "-m", "certferry", *words, "--config", str(settings)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert code in (None, done.returncode), done
        return done.stdout + (done.stderr if code else "")

    return run


def get(site: Site, path: str, host: str = "www.example.com") -> int:
    connection = http.client.HTTPConnection(site.address, site.port, timeout=10)
    connection.request("GET", path, headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status
