"""The answer to a CA's HTTP-01 challenge as a route (RFC 8555, 8.3).

It is open to every client, whatever the listener's access list, because CAs validate from changing addresses.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.resource import TYPE
from certferry.core.envoy.routes.access_list import FILTER
from certferry.core.model.elb import HttpChallenge

PATH: Final = "/.well-known/acme-challenge/"


def challenge_route(challenge: HttpChallenge) -> dict[str, Any]:
    """Return the Route that answers one challenge."""
    admits_all = {"@type": f"{TYPE}envoy.extensions.filters.http.rbac.v3.RBACPerRoute"}
    header = {"key": "content-type", "value": "application/octet-stream"}
    return {
        "name": "acme-challenge",
        "match": {"path": f"{PATH}{challenge.token}"},
        "direct_response": {"status": 200, "body": {"inline_string": challenge.answer}},
        "response_headers_to_add": [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "typed_per_filter_config": {FILTER: admits_all},
    }
