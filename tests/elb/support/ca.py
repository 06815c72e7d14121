"""A real CA (Pebble, strict) beside a real ELB with Envoy; built once with go."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from certferry.settings import ElbSettings
from tests.elb.support.dataplane import OPTIONS, free_port
from tests.elb.support.server import Api, Elb, serving, settings_in
from tools.acme.pebble import Pebble, available, running

DEADLINE: Final = 60.0
AVAILABLE: Final = available()


class Site:
    """The CA, the ELB, and the load balancer that both mean."""

    pebble: Pebble

    def __init__(self, settings: ElbSettings, port: int) -> None:
        self.settings = settings
        self.port = port
        """The port on this machine that stands for port 80."""
        self._serving = ExitStack()
        self.start()
        self.loadbalancer = self.api.make("loadbalancer", name="site")
        self.address = str(self.loadbalancer["vip_address"])

    def start(self) -> None:
        elb: Elb = self._serving.enter_context(serving(self.settings))
        self.api: Api = elb.admin

    def stop(self) -> None:
        self._serving.close()

    def open_port_80(self, **fields: Any) -> dict[str, Any]:
        where = {"loadbalancer_id": self.loadbalancer["id"], "protocol": "HTTP", "protocol_port": 80}
        return self.api.make("listener", **where, **fields)

    def issuer(self, name: str = "pebble", **fields: Any) -> dict[str, Any]:
        trust = {"directory": self.pebble.directory, "ca_certificates": self.pebble.ca_certificates}
        reply = self.api.extension("POST", "/issuers", {"name": name, "terms_agreed": True, **trust, **fields})
        assert reply.status == 201, reply.body
        made: dict[str, Any] = reply.body["issuer"]
        return made

    def order(self, *names: str, **fields: Any) -> dict[str, Any]:
        reply = self.api.extension("POST", "/orders", {"names": list(names), "issuer": "pebble", **fields})
        assert reply.status == 201, reply.body
        made: dict[str, Any] = reply.body["order"]
        return made

    def show(self, order_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.api.extension("GET", f"/orders/{order_id}").body["order"]
        return shown

    def until(self, order_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE
        while not condition(shown := self.show(order_id)):
            assert time.monotonic() < end, f"{shown}\n{self.pebble.log.read_text()[-3000:]}"
            time.sleep(0.05)
        return shown

    def until_issued(self, order_id: str, version: int = 1) -> dict[str, Any]:
        """Wait for a content of the order's certificate, and return the certificate."""

        def issued(shown: dict[str, Any]) -> bool:
            assert not shown["error"], (shown, self.pebble.log.read_text()[-3000:])
            return shown["state"] == "issued" and self.version(shown["certificate_id"]) >= version

        shown = self.until(order_id, issued)
        return self.api.show("certificate", shown["certificate_id"])

    def hooked(self, call: str) -> int:
        """Return how often the hook program was called so."""
        return (self.pebble.log.parent / "hook.log").read_text().count(call)

    def version(self, certificate_id: str) -> int:
        versions = self.api.extension("GET", f"/certificates/{certificate_id}/versions").body["versions"]
        return int(versions[0]["number"])


@contextmanager
def issuing(directory: Path, settings: dict[str, Any] | None = None, **environment: str) -> Iterator[Site]:
    """An ELB whose load balancer is where the CA validates every name."""
    short = Path(tempfile.mkdtemp(prefix="certferry-"))
    port = free_port()
    chosen = {"envoy": True, "envoy_options": OPTIONS, "privileged_shift": port - 80, **(settings or {})}
    made: ElbSettings = settings_in(short, **chosen)
    site = Site(made, port)
    try:
        with running(directory, port, site.address, **environment) as site.pebble:
            yield site
    finally:
        site.stop()
        shutil.rmtree(short)
