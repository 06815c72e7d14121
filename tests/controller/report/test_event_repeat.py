from __future__ import annotations

import asyncio
from typing import Any

from certferry.controller.report.event_recorder import HOUR, EventMessage
from certferry.controller.report.messages import bounded_events
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


async def test_a_flood_of_warnings_in_one_namespace_delays_no_other(system: System) -> None:
    """The flood has the first name, and does not stop."""

    def about(namespace: str, number: int) -> EventMessage:
        subject = ObjectRef(kind="Ingress", namespace=namespace, name="shop", uid=namespace)
        return EventMessage(object=subject, type="Warning", reason="NoCertificate", sentence=f"no {number}")

    async with KubeClient(Access(system.kube.url, None, FixedToken(system.kube.token))) as kube:
        reporter = StatusWriter(kube, Cache(kube, lambda _: None), clock=lambda: float(written()))  # a second each

        def written() -> int:
            return sum(kind == "events" for kind, *_ in system.kube.objects)

        task = asyncio.create_task(reporter.run())
        flood = [about("a", number) for number in range(3_000)]
        reporter.standing(flood, {}, {})
        await until(lambda: written() > 2)
        reporter.standing([*flood, about("victim", 1)], {}, {})
        await until(lambda: any(o["metadata"].get("namespace") == "victim" for o in list(system.kube.objects.values())))
        assert written() < 1_000
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_an_object_has_a_few_events_of_a_reason_and_the_number_of_the_rest() -> None:
    many = [notice("CertificateNotFound", f"certificate {number:04} does not exist") for number in range(5_000)]
    told = bounded_events([*many, notice("NoCertificate", "x"), *many[:9]])
    assert len(told) == 5 + 1 + 1
    assert [e.sentence for e in told if "more" in e.sentence] == ["4995 more with this reason."]
    assert bounded_events(many[:5]) == many[:5]


def _told(system: System, message: str) -> bool:
    events = [o for (kind, *_), o in system.kube.objects.items() if kind == "events"]
    return any(event["message"] == message for event in events)
