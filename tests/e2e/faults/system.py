"""Kubernetes API, ELB, Envoy and controller as processes, with a fault-injecting proxy in front of each API."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import yaml

from tests.e2e.faults.proxy import Fault, Proxy
from tests.e2e.support.separate_processes import ApartSystem


class FaultySystem(ApartSystem):
    """``start`` it in a thread: its proxies live in the event loop of the test."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.kube_proxy: Proxy | None = None
        self.elb_proxy: Proxy | None = None

    async def open(self) -> None:
        """Start the Kubernetes API and both proxies, which ``start`` needs."""
        self.start_kube()
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        self.kube_proxy = Proxy(f"https://127.0.0.1:{self._kube_port}", trusting)
        await self.kube_proxy.start()
        self.elb_proxy = Proxy(f"http://127.0.0.1:{self._elb_port}")
        await self.elb_proxy.start()

    async def close(self) -> None:
        for proxy in (self.kube_proxy, self.elb_proxy):
            if proxy:
                await proxy.close()

    async def killed_at(self, proxy: Proxy, method: str, part: str, nth: int = 1) -> None:
        """SIGKILL the controller after its `nth` matching request was executed, before it gets the answer."""
        if nth > 1:
            proxy.faults.append(Fault(method, part, times=nth - 1))

        async def kill() -> None:
            self.child("controller").kill()
            await asyncio.to_thread(self.child("controller").wait)

        proxy.faults.append(Fault(method, part, afterwards=kill))

    def elb_url(self, url: str) -> str:
        assert self.elb_proxy
        return self.elb_proxy.url

    def _enter(self) -> Path:
        assert self.kube_proxy
        config = yaml.safe_load((self.state / "kubeconfig-controller").read_text())
        config["clusters"][0]["cluster"] = {"server": self.kube_proxy.url}
        file = self.state / "kubeconfig-through-proxy"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file
