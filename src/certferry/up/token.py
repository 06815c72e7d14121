"""A token for the ELB of a running system, for people who try it with curl.

``certferry demo token`` calls it. It knows Keystone's password login (elb-v3: POST /v3/auth/tokens)
and reads who to be from endpoints.json.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from certferry.settings import UserError
from certferry.up.endpoints_file import Endpoints


def token(state: Path) -> str:
    """A fresh token of the user in endpoints.json. Raises ``Refused``."""
    try:
        elb = msgspec.json.decode((state / "endpoints.json").read_bytes(), type=Endpoints).elb
    except FileNotFoundError:
        raise UserError(
            f"Certferry does not run on {state}: start `certferry up`, or name its --state."
        ) from None
    except (OSError, msgspec.DecodeError):
        raise UserError(f"{state / 'endpoints.json'} cannot be read.") from None
    user = {"name": elb.username, "password": elb.password, "domain": {"name": elb.domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = msgspec.json.encode({"auth": {"identity": identity, "scope": {"project": {"id": elb.project_id}}}})
    request = urllib.request.Request(  # noqa: S310 - the URL is our own
        f"{elb.url}/v3/auth/tokens", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return str(answer.headers["X-Subject-Token"])
    except urllib.error.HTTPError as error:
        raise UserError(f"The ELB at {elb.url} refused the login ({error.code}).", code=1) from None
    except OSError as error:
        raise UserError(f"The ELB at {elb.url} does not answer ({error}).", code=1) from None
