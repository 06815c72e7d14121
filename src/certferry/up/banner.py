"""The closing block of `certferry up`: where things are, and commands that work as they stand.

``run`` shows it when all is ready. At most 20 lines; a command never spans two. It knows the
demo's names, and starts nothing.
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


def block(state: Path, endpoints: Endpoints, address: str, *, demo: bool) -> str:
    """The whole text. `address` is the demo load balancer's."""
    head = [
        f"Certferry is ready. State: {state}   (Ctrl-C ends everything)",
        f"  Kubernetes  {endpoints.kubeconfig} (kubeconfig)",
        f"  Console     {endpoints.console.url} (user {endpoints.elb.username}; password in endpoints.json)",
        f"  ELB         {endpoints.elb.url} (all credentials: endpoints.json in the state directory)",
    ]
    return "\n".join(head + (_tour(state, endpoints, address) if demo else []))


def _tour(state: Path, endpoints: Endpoints, address: str) -> list[str]:
    port = endpoints.port_map["443"]
    demo = _q(state / "demo")
    kubectl, certferry = _q(_program("kubectl")), _q(_program("certferry"))
    enter = "" if _program("kubectl").is_absolute() else f"cd {_q(Path.cwd())} && "
    told = "" if state == state_default(os.environ) else f" --state {_q(state)}"
    made = f"{certferry} demo certificate{told}"
    page = f"https://{HOST}:{port}/"
    apply = (
        f"{kubectl} create secret tls {objects.SECRET} -n {objects.NAMESPACE} --cert={demo}/{{0}}.crt "
        f"--key={demo}/{{0}}.key --dry-run=client -o yaml | {kubectl} apply -f -"
    )
    certificates = f"{endpoints.elb.url}/v3/{endpoints.elb.project_id}/elb/certificates"
    call = f'curl -s -H "X-Auth-Token: $TOKEN" -H "Content-Type: application/json" -d @{demo}/{{0}}.json'
    annotate = f"{kubectl} annotate ingress {objects.NAME} -n {objects.NAMESPACE} --overwrite {SOURCE}"
    return [
        "# In another terminal. The page, and when its certificate expires:",
        f"{enter}export KUBECONFIG={_q(Path(endpoints.kubeconfig))}",
        f"curl -sv --cacert {demo}/ca.crt --resolve {HOST}:{port}:{address} {page} 2>&1 | grep -E 'Hello|expire date'",
        "# Procedure 1, TLS secret: put a new certificate into the Secret (then look at the page again)",
        f"{made} --days 90 && {apply.format('new')}",
        "# Procedure 2a, ELB server certificate: create one on the ELB and choose it in the Ingress",
        f"{made} --days 200 --out {demo}/elb && TOKEN=$({certferry} demo token{told})",
        f'ID=$({call.format("elb")} {certificates} | sed -E \'s/.*"id": ?"([0-9a-f]{{32}})".*/\\1/\')',
        f"{annotate}=$ID",
        "# Procedure 2b: replace its content on the ELB",
        f"{made} --days 300 --out {demo}/elb && {call.format('elb')} -X PUT {certificates}/$ID -o /dev/null",
        "# Back to the Secret; then one that goes wrong: an expired certificate is refused, the good one stays",
        f"{annotate.replace(' --overwrite', '')}-",
        f"{made} --bad expired && {apply.format('expired')}",
        f"sleep 1; {kubectl} get events -n {objects.NAMESPACE} --field-selector type=Warning",
    ]


def _program(name: str) -> Path:
    """A program beside our own Python; relative for who stands in the clone with its ``.venv``."""
    path = Path(sys.executable).parent / name
    return path.relative_to(Path.cwd()) if path.parent.parent.parent == Path.cwd() else path


def _q(path: Path) -> str:
    return shlex.quote(str(path))
