"""`certferry console` on its own: where it may listen, what every answer carries, and a cluster that is away."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from certferry.up.free_ports import free_ports
from tests.e2e.support.waiting import until
from tests.support.certs import authority

FLEET = "clusters: [{name: far, kubeconfig: missing, elb: {url: 'http://127.0.0.1:9'}}]"


def console(folder: Path, *flags: str) -> list[str]:
    settings = folder / "certferry.yaml"
    settings.write_text(FLEET)
    return [sys.executable, "-m", "certferry", "console", "--config", str(settings), *flags]


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority().certificate)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """A console over TLS whose only cluster is away."""
    pair = authority().issue("localhost")
    (tmp_path / "tls.crt").write_text(pair.certificate)
    (tmp_path / "tls.key").write_text(pair.key)
    (port,) = free_ports(1)
    flags = ["--listen", f"127.0.0.1:{port}"]
    flags += ["--tls-certificate", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key")]
    process = subprocess.Popen(console(tmp_path, *flags), stderr=subprocess.DEVNULL)
    url = f"https://localhost:{port}"

    def answers() -> bool:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5, context=trusting()) as answer:
            return bool(answer.status == 200)

    try:
        until(answers, "the console answers", seconds=60)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_every_response_has_the_security_headers(origin: str) -> None:
    with urllib.request.urlopen(f"{origin}/login", timeout=10, context=trusting()) as answer:
        headers, body = answer.headers, answer.read().decode()
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["strict-transport-security"]
    assert headers["cache-control"] == "no-store"
    assert "Secure" in headers["set-cookie"]
    assert "<style" not in body
    assert "style=" not in body
    assert "<script>" not in body


def test_an_unreachable_cluster_is_reported_at_login(origin: str) -> None:
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trusting()), urllib.request.HTTPCookieProcessor()
    )
    page = opener.open(f"{origin}/login", timeout=10).read().decode()
    token = page.partition('name="csrf" value="')[2].partition('"')[0]
    form = f"csrf={token}&user=admin&password=secret-word".encode()
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(f"{origin}/login", form, timeout=20)
    said = refused.value.read().decode()
    assert refused.value.code == 502
    assert "ELB: not reachable" in said
    assert "secret-word" not in said


def shown(origin: str) -> bytes | None:
    """The certificate in a handshake."""
    address = urllib.parse.urlsplit(origin)
    with (
        socket.create_connection(("127.0.0.1", address.port or 0), 10) as plain,
        trusting().wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        return tls.getpeercert(binary_form=True)


def test_a_renewed_tls_pair_is_served_without_a_restart_and_a_broken_one_is_not(origin: str, tmp_path: Path) -> None:
    first, renewed = shown(origin), authority().issue("localhost")
    (tmp_path / "tls.crt").write_text("garbage")
    (tmp_path / "tls.key").write_text(renewed.key)
    assert shown(origin) == first
    (tmp_path / "tls.crt").write_text(renewed.certificate)
    der = ssl.PEM_cert_to_DER_cert(renewed.certificate.partition("-----END")[0] + "-----END CERTIFICATE-----")
    until(lambda: shown(origin) == der, "the console serves the new certificate", seconds=20)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ["--tls-key", "no.key", "--tls-certificate", "no.crt"],
            "served over TLS with no.crt and no.key: no.crt: No such",
        ),
        (["--listen", "0.0.0.0:0"], "does not listen on 0.0.0.0 without TLS"),
        (["--listen", "nonsense"], "is no address to listen on"),
        (["--tls-key", "missing.pem"], "needs both tls_certificate and tls_key"),
    ],
)
def test_an_unsafe_listen_address_is_rejected_in_one_line(tmp_path: Path, flags: list[str], sentence: str) -> None:
    done = subprocess.run(console(tmp_path, *flags), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
