"""The closing block of `certferry up`: addresses, and commands that work as they stand.

No line is wider than 80 columns, except for a long path of the state directory.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from certferry.demo import objects
from certferry.demo.ca import HOST
from certferry.settings import state_default
from certferry.up.endpoints_file import Endpoints
from certferry.up.environment import programs_folder

SOURCE = "kubernetes.io/elb.tls-certificate-ids"


def block(state: Path, endpoints: Endpoints, *, demo: bool) -> str:
    """Return the text."""
    head = [
        "Certferry is ready. Ctrl-C ends everything.",
        f"  State       {state} (all credentials: endpoints.json)",
        f"  Kubernetes  {endpoints.kubeconfig} (kubeconfig)",
        f"  Console     {endpoints.console.url} (user {endpoints.elb.username}; password in endpoints.json)",
        f"  ELB         {endpoints.elb.url}",
    ]
    return "\n".join(head + (_tour(state) if demo else []))


def _tour(state: Path) -> list[str]:
    option = "" if state == state_default(os.environ) else f" --state {shlex.quote(str(state))}"
    enter = f'eval "$({shlex.quote(str(programs_folder() / "certferry"))} demo env{option})"'
    wait = f'certferry cert wait {HOST} --cert "$DEMO"'
    annotate = f"kubectl annotate ingress {objects.NAME} -n {objects.NAMESPACE}"
    call = 'curl -s -H "X-Auth-Token: $TOKEN" -H "Content-Type: application/json" \\'
    body, certificates = '-d @"$DEMO"/elb.json', '"$ELB/v3/$PROJECT/elb/certificates'
    return [
        "# In another terminal. The page, and when its certificate expires:",
        enter,
        'curl -sv --cacert "$DEMO"/ca.crt \\',
        f"  --resolve {HOST}:$HTTPS_PORT:$IP \\",
        f"  https://{HOST}:$HTTPS_PORT/ 2>&1 | grep -E 'Hello|expire date'",
        "# 1. TLS Secret: write a new certificate into it (then look at the page again)",
        "certferry demo certificate --days 90",
        *_apply("new"),
        f"{wait}/new.crt",
        "# 2a. ELB server certificate: create one on the ELB, choose it in the Ingress",
        'certferry demo certificate --days 200 --out "$DEMO"/elb',
        f"ID=$({call}",
        f'  {body} {certificates}" \\',
        """  | sed -E 's/.*"id": ?"([0-9a-f]{32})".*/\\1/')""",
        f"{annotate} --overwrite \\",
        f"  {SOURCE}=$ID",
        f"{wait}/elb.crt",
        "# 2b. The same ELB certificate, with new content",
        'certferry demo certificate --days 300 --out "$DEMO"/elb',
        call,
        f"  -X PUT -o /dev/null {body} \\",
        f'  {certificates}/$ID"',
        f"{wait}/elb.crt",
        "# Back to the Secret; then an expired certificate: the good one stays",
        f"{annotate} {SOURCE}-",
        f"{wait}/new.crt",
        "certferry demo certificate --bad expired",
        *_apply("expired"),
        f"kubectl wait event -n {objects.NAMESPACE} --for=create \\",
        "  --field-selector reason=CertificateExpired --timeout=60s",
        f"kubectl get events -n {objects.NAMESPACE} --field-selector type=Warning",
    ]


def _apply(pair: str) -> list[str]:
    return [
        f'kubectl create secret tls {objects.SECRET} -n {objects.NAMESPACE} --cert="$DEMO"/{pair}.crt \\',
        f'  --key="$DEMO"/{pair}.key --dry-run=client -o yaml | kubectl apply -f -',
    ]
