"""Requests over HTTP to a port that `elb.ssl-redirect` shares with other Ingresses."""

from __future__ import annotations

import http.client
import json

from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects
from tests.e2e.support.site import SERVICE, Site
from tests.e2e.support.waiting import until

HTTP_PORT = 18080
CHALLENGE = "/.well-known/acme-challenge/token"


def test_an_acme_solver_and_another_host_work_beside_a_redirect(site: MakeSite) -> None:
    shop = site("redirected")
    ports = json.dumps([{"HTTP": HTTP_PORT}, {"HTTPS": shop.port}])
    pair = shop.pair()
    redirect = {"kubernetes.io/elb.ssl-redirect": "true", "kubernetes.io/elb.listen-ports": ports}
    shop.publish(pair, redirect)
    until(lambda: status(shop, shop.host, CHALLENGE) == 301, "every request is redirected")

    solver = at_http(shop, "solver", shop.host)
    solver["spec"]["rules"][0]["http"]["paths"][0] |= {"path": CHALLENGE, "pathType": "ImplementationSpecific"}
    shop.system.apply(solver, at_http(shop, "plain", "plain.test.example"))

    until(lambda: status(shop, shop.host, CHALLENGE) == 200, "the solver answers")
    until(lambda: status(shop, "plain.test.example", "/") == 200, "the other host is served")
    assert status(shop, shop.host, "/") == 301
    shop.shows(pair)

    shop.system.kubectl("delete", "ingress", "-n", shop.name, "solver", "plain")
    until(lambda: status(shop, "plain.test.example", "/") == 301, "every request is redirected again")


def at_http(shop: Site, name: str, host: str) -> objects.Object:
    return objects.ingress(shop.name, name, SERVICE, [host], [], {objects.PORT: str(HTTP_PORT)})


def status(shop: Site, host: str, path: str) -> int:
    """The status of one request over HTTP; 0 if nothing answers. A redirect leads to the HTTPS port."""
    connection = http.client.HTTPConnection(shop.address.ip, HTTP_PORT, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
    except OSError:
        return 0
    finally:
        connection.close()
    if answer.status == 301:
        assert answer.headers["location"] == f"https://{host}:{shop.port}{path}"
    return answer.status
