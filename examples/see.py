"""``python see.py HOST [PATH]``: the page, and the certificate that the handshake showed.

It finds the address in the Ingress's status, trusts the demo's authority alone, and checks the name
and the dates as a browser does. ``$KUBECONFIG`` says which cluster, ``$STATE`` where the authority is.
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
    """Where the Ingress that has a rule for `host` is served; the last of its ports."""
    listed = subprocess.run(
        ["kubectl", "get", "ingress", "-A", "-o", "json"], check=True, capture_output=True, text=True
    )
    for ingress in json.loads(listed.stdout)["items"]:
        if host in [rule.get("host") for rule in ingress["spec"].get("rules", ())]:
            for place in ingress.get("status", {}).get("loadBalancer", {}).get("ingress", ()):
                return place["ip"], place["ports"][-1]["port"]
    sys.exit(f"No Ingress for {host} has an address yet.")


def main(host: str, path: str = "/") -> None:
    """Ask, and print."""
    trust = ssl.create_default_context(cafile=Path(os.environ["STATE"], "demo", "ca.crt"))
    try:
        with (
            socket.create_connection(address(host), timeout=5) as plain,
            trust.wrap_socket(plain, server_hostname=host) as tls,
        ):
            shown = tls.getpeercert() or {}
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: tls.recv(65536), b"")).decode()
    except OSError as trouble:
        sys.exit(f"{host}: {trouble}")
    names = ", ".join(name for _, name in shown["subjectAltName"])
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    days = round((ends - datetime.now(UTC)).total_seconds() / 86400)
    print(f"certificate for {names}, {days} days left")
    print(answer.split("\r\n", 1)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
