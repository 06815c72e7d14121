"""Controllers as processes of their own, between the two fakes: to be stopped, resumed and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from types import TracebackType

import yaml

from tests.controller.conftest import System

LEASE = ("certferry", "certferry-controller")
SECONDS = 2.0


class Replica:
    """One process; its access key on the ELB is its name."""

    def __init__(self, system: System, name: str, folder: Path, **settings: str) -> None:
        self.system, self.name = system, name
        self._folder = folder / name
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Replica:
        self._folder.mkdir(exist_ok=True)
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        kubeconfig = {
            "current-context": "c",
            "contexts": [context],
            "clusters": [{"name": "c", "cluster": {"server": self.system.kube.url}}],
            "users": [{"name": "u", "user": {"token": self.system.kube.token}}],
        }
        credentials = {"project_id": "p" * 32, "access_key": self.name, "secret_key": "SK"}
        self._write("kubeconfig", yaml.safe_dump(kubeconfig))
        self._write("elb.json", json.dumps(credentials))
        settings = {
            "kubeconfig": str(self._folder / "kubeconfig"),
            "elb_url": self.system.elb.url,
            "elb_credentials": str(self._folder / "elb.json"),
            "default_loadbalancer": self.system.balancer,
            "listen_port": "0",
            "debounce": "0.01",
            "lease": "/".join(LEASE),
            "lease_seconds": str(SECONDS),
            **self._settings,
        }
        environment = {f"CERTFERRY_CONTROLLER_{k.upper()}": v for k, v in settings.items()}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "certferry",
            "controller",
            env={**os.environ, **environment},
            stderr=asyncio.subprocess.DEVNULL,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def leads(self) -> bool:
        """What the Lease says."""
        lease = self.system.kube.objects.get(("leases", *LEASE[:2]))
        return lease is not None and f"_{self._pid}_" in str(lease["spec"]["holderIdentity"])

    def wrote(self, since: int = 0) -> int:
        """How many of the writes to the ELB were its."""
        return self.system.elb.writers[since:].count(self.name)

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _write(self, name: str, text: str) -> None:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_text(text)
