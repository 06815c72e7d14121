"""The closing block of `certferry up`: addresses, and commands that work as they stand.

At most 20 lines; a command never spans two.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from certferry.demo import objects
from certferry.demo.ca import HOST
from certferry.settings import state_default
from certferry.up.endpoints_file import Endpoints

SOURCE = "kubernetes.io/elb.tls-certificate-ids"


def block(state: Path, endpoints: Endpoints, *, demo: bool) -> str:
    """Return the text."""
    head = [
        f"Certferry is ready. State: {state}   (Ctrl-C ends everything)",
        f"  Kubernetes  {endpoints.kubeconfig} (kubeconfig)",
        f"  Console     {endpoints.console.url} (user {endpoints.elb.username}; password in endpoints.json)",
        f"  ELB         {endpoints.elb.url} (all credentials: endpoints.json in the state directory)",
    ]
    return "\n".join(head + (_tour(state) if demo else []))


def _tour(state: Path) -> list[str]:
    kubectl, certferry = _q(_program("kubectl")), _q(_program("certferry"))
    enter = "" if _program("kubectl").is_absolute() else f"cd {_q(Path.cwd())} && "
    option = "" if state == state_default(os.environ) else f" --state {_q(state)}"
    made = f"{certferry} demo certificate"
    wait = f"{certferry} cert wait {HOST} --cert"
    apply = (
        f'{kubectl} create secret tls {objects.SECRET} -n {objects.NAMESPACE} --cert="$DEMO"/{{0}}.crt '
        f'--key="$DEMO"/{{0}}.key --dry-run=client -o yaml | {kubectl} apply -f -'
    )
    certificates = '"$ELB/v3/$PROJECT/elb/certificates'
    call = 'curl -s -H "X-Auth-Token: $TOKEN" -H "Content-Type: application/json" -d @"$DEMO"/elb.json'
    annotate = f"{kubectl} annotate ingress {objects.NAME} -n {objects.NAMESPACE} --overwrite {SOURCE}"
    resolve = f"--resolve {HOST}:$HTTPS_PORT:$IP https://{HOST}:$HTTPS_PORT/"
    return [
        "# In another terminal. The page, and when its certificate expires:",
        f'{enter}eval "$({certferry} demo env{option})"',
        f"curl -sv --cacert \"$DEMO\"/ca.crt {resolve} 2>&1 | grep -E 'Hello|expire date'",
        "# 1. TLS Secret: write a new certificate into the Secret (then look at the page again)",
        f'{made} --days 90 && {apply.format("new")} && {wait} "$DEMO"/new.crt',
        "# 2a. ELB server certificate: create one on the ELB, and choose it in the Ingress",
        f'{made} --days 200 --out "$DEMO"/elb',
        f'ID=$({call} {certificates}" | sed -E \'s/.*"id": ?"([0-9a-f]{{32}})".*/\\1/\')',
        f'{annotate}=$ID && {wait} "$DEMO"/elb.crt',
        "# 2b. The same ELB certificate, with new content",
        f'{made} --days 300 --out "$DEMO"/elb && {call} -X PUT {certificates}/$ID" -o /dev/null && {wait} "$DEMO"/elb.crt',
        "# Back to the Secret; then an expired certificate: it is rejected, and the good one stays",
        f'{annotate.replace(" --overwrite", "")}- && {wait} "$DEMO"/new.crt',
        f"{made} --bad expired && {apply.format('expired')}",
        f"sleep 1; {kubectl} get events -n {objects.NAMESPACE} --field-selector type=Warning",
    ]


def _program(name: str) -> Path:
    """Return the path of a program beside our own Python; relative if the current folder has that ``.venv``."""
    path = Path(sys.executable).parent / name
    return path.relative_to(Path.cwd()) if path.parent.parent.parent == Path.cwd() else path


def _q(path: Path) -> str:
    return shlex.quote(str(path))
