"""A controller between a fake cluster and a fake ELB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from certferry.controller.controller import Controller
from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.controller.sync.debounce import Timing
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.elb.client.client import ElbClient
from certferry.elb.client.credentials import Credentials
from certferry.kube.client.client import KubeClient
from certferry.kube.client.kubeconfig import Access, FixedToken
from tests.controller.support.fake_elb import FakeElb
from tests.controller.support.fake_kube import FakeKube, until
from tests.support.certs import Pair

CREDENTIALS = Credentials(project_id="p" * 32, access_key="AK", secret_key="SK")


class System:
    """Two fakes, and the controller while it runs."""

    def __init__(self) -> None:
        self.kube, self.elb = FakeKube(), FakeElb()
        self.balancer = ""
        self.controller: Controller | None = None
        self._task: asyncio.Task[None] | None = None
        self.resync = 60.0
        self.garbage = 0.05
        self.probe_deadline = 3.0
        self.compromised: frozenset[str] = frozenset()
        self.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0))

    async def start(self) -> None:
        """The controller alone."""
        self._task = asyncio.create_task(self._run())

    async def in_step(self) -> None:
        """Until the controller has nothing left to do for the first time."""
        await until(lambda: self.controller is not None and self.controller.not_ready is None)

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self.controller = None

    async def _run(self) -> None:
        access = Access(self.kube.url, None, FixedToken(self.kube.token))
        options = TranslateOptions(
            default_loadbalancer=self.balancer, cluster_name="test", compromised=self.compromised
        )
        waits = Timing(
            debounce=0.01,
            debounce_max=0.1,
            deletion_delay=self.garbage,
            resync=self.resync,
            probe_deadline=self.probe_deadline,
        )
        async with KubeClient(access) as kube, ElbClient(self.elb.url, CREDENTIALS) as elb:
            self.controller = Controller(kube, elb, options, waits, self.mode)
            await self.controller.run()

    # a shop that is served over HTTPS

    def shop(self, pair: Pair, name: str = "shop", **annotations: str) -> None:
        """A Secret, a Service with an endpoint, and an Ingress that uses them."""
        self.kube.secret("demo", f"{name}-tls", pair)
        self.kube.put("services", "demo", name, {"spec": {"type": "ClusterIP", "ports": [{"name": "web", "port": 80}]}})
        self.kube.put(
            "endpointslices",
            "demo",
            f"{name}-1",
            {
                "metadata": {"labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "web", "port": 8080}],
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
            },
        )
        self.ingress(name, **annotations)

    def ingress(self, name: str = "shop", **annotations: str) -> None:
        backend = {"service": {"name": name, "port": {"number": 80}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        self.kube.put(
            "ingresses",
            "demo",
            name,
            {
                "metadata": {
                    "annotations": {f"kubernetes.io/elb.{k.replace('_', '-')}": v for k, v in annotations.items()}
                },
                "spec": {
                    "ingressClassName": "cce",
                    "tls": [{"secretName": f"{name}-tls"}],
                    "rules": [{"host": f"{name}.example.com", "http": {"paths": [path]}}],
                },
            },
        )

    def our_certificate(self) -> dict[str, Any]:
        (one,) = [c for c in self.elb.made("certificates") if c["name"].startswith("k8s_plb_default")]
        return one

    def annotation(self, key: str, name: str = "shop") -> str:
        item = self.kube.objects["ingresses", "demo", name]
        return str(item["metadata"]["annotations"].get(key, ""))


@pytest.fixture
async def system() -> AsyncIterator[System]:
    system = System()
    await system.kube.start()
    await system.elb.start()
    system.balancer = system.elb.balancer()
    yield system
    await system.stop()
    await system.elb.close()
    await system.kube.stop()


@pytest.fixture
def logs() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as dicts."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture.entries  # type: ignore[misc]
    structlog.configure(**before)
