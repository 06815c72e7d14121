"""The health of a cluster: its hosts by category, and the problems of its objects.

It projects host states and derives no verdict of its own. A problem is listed once, on the object that has to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from certferry.console.judge.hosts import host_badge, served_badge
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.formatting import Badge
from certferry.core.diagnosis.host_state import HostState, HostStatus
from certferry.core.diagnosis.inventory import SEVERITY
from certferry.core.model.kubernetes import Name, ObjectRef
from certferry.core.model.problems import Problem
from certferry.core.plural import counted

LEVELS: Final[Mapping[str, int]] = {"bad": 0, "warn": 1, "idle": 2, "busy": 3, "good": 4}
"""Order of levels, the most severe first."""
_MILD: Final = frozenset({"PathConflict", "AnnotationUnknown", "SniConflict"})
"""Reasons of problems that change no certificate."""


class Category(NamedTuple):
    """A group of host statuses."""

    key: str
    label: str
    level: str
    hint: str


CATEGORIES: Final = (
    Category("wrong", "Wrong", "bad", "Clients get no certificate, or not the one that the Ingress names."),
    Category("expired", "Expired", "bad", "Clients get a certificate that has expired or is not valid yet."),
    Category("unknown", "Unknown", "warn", "The listener does not answer, or its certificate cannot be read."),
    Category("expiring", "Expiring", "warn", "The right certificate, and its renewal is late."),
    Category("right", "Right", "good", "Clients get the certificate that the Ingress names."),
)
"""The categories of hosts, the most severe first."""
_CATEGORY: Final[Mapping[HostStatus, str]] = {
    "served": "right",
    "expiring": "expiring",
    "unknown": "unknown",
    "unreachable": "unknown",
    "missing": "wrong",
    "unusable": "wrong",
    "expired": "expired",
    "wrong": "wrong",
}


class HostPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One host on one address and port: the states of its key kinds, the most severe first."""

    states: tuple[HostState, ...]

    @property
    def worst(self) -> HostState:
        """The state that counts."""
        return self.states[0]

    @property
    def host(self) -> str:
        """The SNI name; "" for clients that name none."""
        return self.worst.host

    @property
    def place(self) -> str:
        """Address and port where clients connect."""
        return f"{self.worst.key.address}:{self.worst.key.port}"

    @property
    def category(self) -> str:
        """Key of the category."""
        return _CATEGORY[self.worst.status]

    @property
    def badge(self) -> Badge:
        """The status in a word."""
        return status_of(self.states)

    @property
    def rows(self) -> list[tuple[HostState, Badge]]:
        """Each state with its status in a word."""
        return [(state, status_of((state,))) for state in self.states]

    @property
    def order(self) -> tuple[int, float, str, str]:
        """Sort key: the most severe first, then by expiry."""
        expires = self.worst.expires.timestamp() if self.worst.expires else 0.0
        return -SEVERITY.index(self.worst.status), expires, self.host or "~", self.place


class ObjectProblems(msgspec.Struct, frozen=True, kw_only=True):
    """The problems of one object, with the hosts that they concern and the first thing to do."""

    object: ObjectRef
    badge: Badge
    sentences: tuple[tuple[str, str], ...]
    """Reason and sentence."""
    action: str
    """A command or an edit; "" if none is known."""
    hosts: tuple[str, ...]

    @property
    def name(self) -> Name:
        """Namespace and name of the object."""
        return Name(self.object.namespace, self.object.name)

    @property
    def order(self) -> tuple[int, int, ObjectRef]:
        """Sort key: the most severe first, then the one that concerns most hosts."""
        return LEVELS[self.badge.level], -len(self.hosts), self.object


def status_of(states: Sequence[HostState]) -> Badge:
    """Return the status of hosts; a problem that clients do not notice is a warning."""
    badge = served_badge(states)
    problem = next((p for state in states for p in state.problems), None)
    if badge.level in ("good", "busy") and problem:
        return Badge("warn", badge.word, problem.sentence)
    return badge


def places(states: Iterable[HostState]) -> list[HostPlace]:
    """Return the hosts of `states`, the most severe first."""
    by_place: dict[tuple[str, int, str], list[HostState]] = {}
    for state in states:
        by_place.setdefault((state.key.address, state.key.port, state.host), []).append(state)
    result = [
        HostPlace(states=tuple(sorted(group, key=lambda s: -SEVERITY.index(s.status)))) for group in by_place.values()
    ]
    return sorted(result, key=lambda place: place.order)


def host_places(cluster: ClusterContext) -> list[HostPlace]:
    """Return every host of a cluster with its last handshake, the most severe first."""
    return cluster.summary(places)


def counts(hosts: Iterable[HostPlace]) -> dict[str, int]:
    """Return the number of hosts in each category, the most severe first."""
    numbers = dict.fromkeys((category.key for category in CATEGORIES), 0)
    for host in hosts:
        numbers[host.category] += 1
    return numbers


def overall(hosts: Sequence[HostPlace]) -> Badge:
    """Return the most severe state of `hosts` in a few words; a problem that no client notices is a warning."""
    badge = worst(counts(hosts))
    warned = len({_key(p.object) for host in hosts for s in host.states for p in s.problems})
    if badge.level == "good" and warned:
        return Badge(
            "warn", f"{counted(warned, 'warning')}", "A problem, such as a rejected renewal, that no client notices."
        )
    return badge


def worst(numbers: Mapping[str, int]) -> Badge:
    """Return the most severe categories with hosts in a few words, such as “3 wrong, 1 expired”."""
    if not any(numbers.values()):
        return Badge("idle", "No hosts", "No listener and no Ingress has a host.")
    category = next(c for c in CATEGORIES if numbers[c.key])
    if category.key == "right":
        return Badge("good", "All right", category.hint)
    same = [c for c in CATEGORIES if numbers[c.key] and c.level == category.level]
    word = ", ".join(f"{numbers[c.key]} {c.label.lower()}" for c in same)
    return Badge(category.level, word, " ".join(c.hint for c in same))


def problems(states: Iterable[HostState], reported: Iterable[Problem]) -> list[ObjectProblems]:
    """Return the problems by object, the most severe first.

    `reported`: what the controller reports. A problem of an Ingress that stands on its Secret or on a host already is
    not repeated.
    """
    objects: dict[tuple[str, Name], _Collected] = {}
    for state in states:
        for problem in state.problems:
            collected = objects.setdefault(_key(problem.object), _Collected(problem.object, {}, [], problem.action))
            collected.sentences.setdefault(problem.reason, problem.sentence)
            collected.states.append(state)
    # those of an Ingress with a Secret come last, because the Secret has them too
    for report in sorted(reported, key=lambda report: report.secret is not None):
        places = (_key(report.object), ("Secret", report.secret) if report.secret else None)
        if not any(place in objects and report.reason in objects[place].sentences for place in places if place):
            action = f"kubectl describe {report.object.kind.lower()} {report.object.name} -n {report.object.namespace}"
            collected = objects.setdefault(_key(report.object), _Collected(report.object, {}, [], action))
            collected.sentences[report.reason] = report.sentence
    return sorted(map(_of_object, objects.values()), key=lambda entry: entry.order)


class _Collected(NamedTuple):
    """The problems of one object while they are collected."""

    object: ObjectRef
    sentences: dict[str, str]
    states: list[HostState]
    action: str


def _key(ref: ObjectRef) -> tuple[str, Name]:
    return ref.kind, Name(ref.namespace, ref.name)


def _of_object(collected: _Collected) -> ObjectProblems:
    badge = host_badge(collected.states) or Badge("warn", "Warning")
    if not collected.states and _MILD.issuperset(collected.sentences):
        badge = Badge("idle", "Notice")
    return ObjectProblems(
        object=collected.object,
        badge=badge,
        sentences=tuple(collected.sentences.items()),
        action=collected.action,
        hosts=tuple(dict.fromkeys(state.host for state in collected.states)),
    )
