"""``python see.py HOST [PATH]``: print the page, and the certificate of the handshake.

The address comes from the status of the Ingress. As a browser would, the script checks the name and the dates; it
trusts only the demo CA. ``$KUBECONFIG`` selects the cluster, ``$STATE`` is the state directory with the CA.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path


def address(host: str) -> tuple[str, int]:
    """Return the address and the last port of the Ingress with a rule for `host`."""
    listed = subprocess.run(
        ["kubectl", "get", "ingress", "-A", "-o", "json"], check=True, capture_output=True, text=True
    )
    for ingress in json.loads(listed.stdout)["items"]:
        if host in [rule.get("host") for rule in ingress["spec"].get("rules", ())]:
            for place in ingress.get("status", {}).get("loadBalancer", {}).get("ingress", ()):
                return place["ip"], place["ports"][-1]["port"]
    sys.exit(f"No Ingress for {host} has an address yet.")


def main(host: str, path: str = "/") -> None:
    """Request `path` of `host` over TLS; print the certificate and the status line."""
    trust = ssl.create_default_context(cafile=Path(os.environ["STATE"], "demo", "ca.crt"))
    try:
        with (
            socket.create_connection(address(host), timeout=5) as plain,
            trust.wrap_socket(plain, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert() or {}
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: tls.recv(65536), b"")).decode()
    except OSError as error:
        sys.exit(f"{host}: {error}")
    names = ", ".join(name for _, name in certificate["subjectAltName"])
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    days = round((expires - datetime.now(UTC)).total_seconds() / 86400)
    print(f"certificate for {names}, {days} days left")
    print(answer.split("\r\n", 1)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
