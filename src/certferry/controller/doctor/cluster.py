"""The cluster's side: version, clock, and whether each permission that the controller needs is there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from certferry.controller import rbac
from certferry.controller.doctor.result import CheckResult, failure, ok, warning
from certferry.kube.client.client import Kind, KubeClient
from certferry.settings import ControllerSettings

OLDEST: Final = (1, 25)
SKEW: Final = timedelta(seconds=30)
"""Clocks further apart make certificates begin and end at the wrong time, and signatures fail."""
REVIEW: Final = Kind("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")


async def examined(kube: KubeClient, settings: ControllerSettings) -> list[CheckResult]:
    """Raises ``KubeError`` when it does not answer at all."""
    said = await kube.version()
    return [_version(said), clock("Kubernetes API", kube.date), await _permissions(kube, settings)]


def clock(whose: str, date: datetime | None) -> CheckResult:
    """Compare the clocks of this machine and the API server."""
    check = f"Clock of the {whose}"
    if date is None:
        return warning(check, "It does not say what time it is.", "Compare the clocks by hand.")
    skew = abs(datetime.now(UTC) - date)
    if skew > SKEW:
        text = f"It differs from this machine's by {skew.total_seconds():.0f} s."
        return failure(check, text, "Let both synchronise with a time server (NTP).")
    return ok(check, f"Within {SKEW.total_seconds():.0f} s of this machine's.")


def _version(said: str) -> CheckResult:
    numbers = [int("".join(c for c in part if c.isdigit()) or 0) for part in said.lstrip("v").split(".")[:2]]
    if tuple(numbers) < OLDEST:
        return failure("Kubernetes API", f"It is {said}.", "Certferry needs Kubernetes 1.25 or newer.")
    return ok("Kubernetes API", f"It answers, and is {said}.")


async def _permissions(kube: KubeClient, settings: ControllerSettings) -> CheckResult:
    missing: list[str] = []
    count = 0
    for namespace, rule, verb, name in _needed(settings):
        count += 1
        resource, _, subresource = rule.resource.partition("/")
        attributes = {"group": rule.group, "resource": resource, "verb": verb}
        attributes |= {"subresource": subresource} if subresource else {}
        attributes |= {"namespace": namespace} if namespace else {}
        attributes |= {"name": name} if name else {}
        answer = await kube.create(REVIEW, {**_REVIEW, "spec": {"resourceAttributes": attributes}})
        if not (answer.get("status") or {}).get("allowed"):
            missing.append(f"{verb} {rule.resource}" + (f" in {namespace}" if namespace else ""))
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        remedy = f"Apply what `certferry rbac --mode {_mode(settings)}` prints for this user or service account."
        return failure("Permissions", f"Not allowed: {', '.join(missing[:3])}{more}.", remedy)
    return ok("Permissions", f"All {count} that the controller needs.")


def _needed(settings: ControllerSettings) -> Iterator[tuple[str, rbac.Rule, str, str]]:
    """(namespace, rule, verb, name) of everything; Secrets by name are only known when Ingresses name them."""
    for rule in rbac.IN_CLUSTER:
        yield from (("", rule, verb, rule.names[0] if rule.names else "") for verb in rule.verbs)
    rules = rbac.IN_NAMESPACES + ((rbac.SECRETS,) if settings.secrets == "all" else ())
    for namespace in settings.namespaces or ("",):
        for rule in rules:
            yield from ((namespace, rule, verb, "") for verb in rule.verbs)
    if settings.lease:
        namespace, _, name = settings.lease.partition("/")
        for rule in rbac.LEADING:
            yield from ((namespace, rule, verb, name if rule.names else "") for verb in rule.verbs)


def _mode(settings: ControllerSettings) -> str:
    if settings.secrets == "named":
        return "named"
    return "namespaces" if settings.namespaces else "cluster"


_REVIEW: Final = {"apiVersion": REVIEW.group_version, "kind": REVIEW.name}
