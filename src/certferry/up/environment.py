"""Access to a running `certferry up` for a shell: a token for its ELB, and variables for a session.

Logs in with Keystone's password method (POST /v3/auth/tokens), as the user in endpoints.json.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from certferry.settings import UserError
from certferry.up.endpoints_file import Endpoints


def variables(state: Path) -> dict[str, str]:
    """Return the shell variables of a session with the demo. Raises UserError."""
    endpoints, token = _endpoints(state), log_in(state)
    elb = endpoints.elb
    path = f"{elb.url}/v3/{elb.project_id}/elb"
    balancer = _send(f"{path}/loadbalancers/{elb.loadbalancer_id}", {"X-Auth-Token": token})[1]
    return {
        "KUBECONFIG": endpoints.kubeconfig,
        "IP": str(balancer["loadbalancer"]["vip_address"]),
        "HTTPS_PORT": str(endpoints.port_map["443"]),
        "ELB": elb.url,
        "PROJECT": elb.project_id,
        "TOKEN": token,
        "CERTFERRY_STATE": str(state),
        "CERTFERRY_CONFIG": str(state / "certferry.yaml"),
        "DEMO": str(state / "demo"),
        **_path(),
    }


def programs_folder() -> Path:
    """Return the folder of the `certferry` and `kubectl` that belong to this Python."""
    return Path(sys.executable).parent


def _path() -> dict[str, str]:
    folder, path = str(programs_folder()), os.environ.get("PATH", "")
    return {} if folder in path.split(os.pathsep) else {"PATH": f"{folder}{os.pathsep}{path}"}


def log_in(state: Path) -> str:
    """Return a new token of the user in endpoints.json. Raises UserError."""
    elb = _endpoints(state).elb
    user = {"name": elb.username, "password": elb.password, "domain": {"name": elb.domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = msgspec.json.encode({"auth": {"identity": identity, "scope": {"project": {"id": elb.project_id}}}})
    headers, _ = _send(f"{elb.url}/v3/auth/tokens", {"Content-Type": "application/json"}, body)
    return str(headers["X-Subject-Token"])


def _endpoints(state: Path) -> Endpoints:
    try:
        return msgspec.json.decode((state / "endpoints.json").read_bytes(), type=Endpoints)
    except FileNotFoundError:
        raise UserError(f"Certferry does not run on {state}: start `certferry up`, or name its --state.") from None
    except (OSError, msgspec.DecodeError):
        raise UserError(f"{state / 'endpoints.json'} cannot be read.") from None


def _send(url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[Any, Any]:
    """Return headers and decoded body of the answer."""
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the URL is our own
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.headers, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        raise UserError(f"The ELB at {url} answered {error.code}.", code=1) from None
    except OSError as error:
        raise UserError(f"The ELB at {url} does not answer ({error}).", code=1) from None
