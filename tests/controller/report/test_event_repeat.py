from __future__ import annotations

import asyncio
from typing import Any

from certferry.controller.report.event_recorder import HOUR, EventMessage
from certferry.controller.report.status_writer import StatusWriter
from certferry.core.model.kubernetes import ObjectRef
from certferry.kube.client.cache import Cache
from certferry.kube.client.client import KubeClient
from certferry.kube.client.kubeconfig import Access, FixedToken
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until


def notice(reason: str, sentence: str) -> EventMessage:
    about = ObjectRef(kind="Secret", namespace="demo", name="shop-tls", uid="u1")
    return EventMessage(object=about, type="Warning", reason=reason, sentence=sentence)


async def test_break_glass_is_reported_each_hour_and_other_warnings_once(system: System) -> None:
    at = [0.0]

    def counts() -> dict[str, int]:
        found: list[Any] = [o for (kind, *_), o in system.kube.objects.items() if kind == "events"]
        return {event["reason"]: event["count"] for event in found}

    async with KubeClient(Access(system.kube.url, None, FixedToken(system.kube.token))) as kube:
        reporter = StatusWriter(kube, Cache(kube, lambda _: None), clock=lambda: at[0])
        task = asyncio.create_task(reporter.run())
        standing = [notice("BreakGlassKept", "the emergency certificate stays"), notice("NoCertificate", "x")]
        for minutes, expected in ((0, 1), (59, 1), (60, 2), (119, 2), (121, 3)):
            at[0] = minutes * HOUR / 60
            # something else changes, so that the report is looked at now and not in a minute
            reporter.standing([*standing, notice("SecretNotFound", f"at {minutes}")], {}, {})
            await until(lambda told=f"at {minutes}": _told(system, told))  # type: ignore[misc]
            assert counts()["BreakGlassKept"] == expected, minutes
            assert counts()["NoCertificate"] == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _told(system: System, message: str) -> bool:
    events = [o for (kind, *_), o in system.kube.objects.items() if kind == "events"]
    return any(event["message"] == message for event in events)
