"""Certificates and load balancers wait before they are deleted; everything else goes at once."""

from __future__ import annotations

from datetime import timedelta

from certferry.core.plan.garbage_collection import select_deletions
from certferry.core.plan.sni_moves import STANDS_IN
from certferry.core.plan.steps import Step, deletion
from tests.core.support.fixtures import NOW

WAIT = timedelta(seconds=30)
CERTIFICATE = deletion("certificate", "c-1", "mine", "no Ingress uses its Secret any more")
BALANCER = deletion("loadbalancer", "lb-9", "made", "the Ingress that asked for it is gone")
LISTENER = deletion("listener", "l-1", "k8s_HTTP_80", "no Ingress asks for this port any more")


def names(steps: tuple[Step, ...]) -> list[str]:
    return [s.id or "" for s in steps]


def test_an_unused_object_is_marked_and_deleted_by_a_later_plan() -> None:
    first = select_deletions((LISTENER, CERTIFICATE, BALANCER), {}, NOW, WAIT)
    assert names(first.steps) == ["l-1"]
    assert first.due == NOW + WAIT
    early = select_deletions((CERTIFICATE, BALANCER), first.marks, NOW + WAIT / 2, WAIT)
    assert early.steps == ()
    late = select_deletions((CERTIFICATE, BALANCER), early.marks, NOW + WAIT, WAIT)
    assert names(late.steps) == ["c-1", "lb-9"]
    assert late.due is None


def test_a_reused_object_loses_its_mark() -> None:
    first = select_deletions((CERTIFICATE,), {}, NOW, WAIT)
    used = select_deletions((), first.marks, NOW + WAIT / 2, WAIT)
    again = select_deletions((CERTIFICATE,), used.marks, NOW + WAIT, WAIT)
    assert again.steps == ()
    assert again.due == NOW + 2 * WAIT


def test_a_stand_in_is_deleted_at_once() -> None:
    twin = deletion("certificate", "c-2", "mine_twin", STANDS_IN)
    assert names(select_deletions((twin,), {}, NOW, WAIT).steps) == ["c-2"]
