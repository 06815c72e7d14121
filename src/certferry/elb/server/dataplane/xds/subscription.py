"""One Envoy's subscription to one type of resource: the names it wants and the versions it has. No I/O.

Source: the incremental variant of the xDS protocol (envoyproxy.io, "xDS REST and gRPC protocol").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from certferry.core.changed_keys import difference


class Versioned(Protocol):
    """A resource, as far as this module looks."""

    @property
    def version(self) -> str:
        """Its content, in a word."""


class Answer(NamedTuple):
    """Envoy's word on a response: what it was about, and why it was refused ("" = accepted)."""

    sent: tuple[tuple[str, str], ...]
    error: str


class Subscription:
    """The names asked for, the versions that Envoy has or is being sent, and the responses under way.

    The names to send are a queue that requests, responses and new resources keep up to date: a batch costs nothing for
    the names that are not in it.
    """

    def __init__(self) -> None:
        self.wildcard = False
        self.names: set[str] = set()
        self.known: dict[str, str] = {}
        self.flight: dict[str, tuple[tuple[str, str], ...]] = {}
        """Names and versions by nonce, of responses without an answer yet."""
        self.under_way: Counter[str] = Counter()
        """Number of responses without an answer yet, by name."""
        self.unanswered: set[str] = set()
        """Names asked for and not heard of since."""
        self._greeted = False
        self._blank = False
        self._resources: Mapping[str, Versioned] | None = None
        """The resources for which the two queues hold; None before they are computed."""
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}

    def request(self, request: Any) -> Answer | None:
        """Take a DeltaDiscoveryRequest; an answer if it is one to a response of ours."""
        self._subscribe(request)
        for name in request.resource_names_unsubscribe:
            self._unsubscribe(name)
        if not request.response_nonce:
            return None
        sent = self.flight.pop(request.response_nonce, None)
        if sent is None:
            return None
        for name, _ in sent:
            self.under_way[name] -= 1
            if not self.under_way[name]:
                del self.under_way[name]
        return Answer(sent, request.error_detail.message if request.HasField("error_detail") else "")

    def _subscribe(self, request: Any) -> None:
        names = set(request.resource_names_subscribe)
        if not self._greeted:
            self._greeted = True
            self.wildcard = not names  # the old way to say "all"
            self._blank = not request.initial_resource_versions
            self._resources = None
        if "*" in names:
            self.wildcard = True
            self._resources = None
            names.discard("*")
        self.names |= names
        self.unanswered |= names
        for name in names:
            # Envoy subscribes again because it no longer has the resource.
            self.known.pop(name, None)
        self.known.update(request.initial_resource_versions)
        self.unanswered.difference_update(request.initial_resource_versions)
        self._queue((*sorted(names), *request.initial_resource_versions))

    def _unsubscribe(self, name: str) -> None:
        if name == "*":
            self.wildcard = False
            self._resources = None
        self.names.discard(name)
        self.unanswered.discard(name)
        self.known.pop(name, None)
        self._queue([name])

    def changed(self, resources: Mapping[str, Versioned]) -> Collection[str]:
        """Return the wanted names that Envoy lacks or has in another version. The result is a view of the queue."""
        self._follow(resources)
        return self._changed.keys()

    def gone(self, resources: Mapping[str, Versioned]) -> list[str]:
        """Return the names that Envoy has or wants and that no longer exist."""
        self._follow(resources)
        return list(self._gone)

    def owes_greeting(self) -> bool:
        """Return True while Envoy waits for a first response, even an empty one."""
        return self.wildcard and self._blank

    def send(self, nonce: str, items: Iterable[tuple[str, str]], gone: Sequence[str] = ()) -> None:
        """Record a response under way."""
        self.flight[nonce] = sent = tuple(items)
        names = [name for name, _ in sent]
        self.known.update(sent)
        self.under_way.update(names)
        self._blank = False
        for name in gone:
            self.known.pop(name, None)
        self.unanswered.difference_update(names, gone)
        self._queue((*names, *gone))

    def again(self, names: Iterable[str]) -> None:
        """Send `names` once more, whatever Envoy has."""
        names = list(names)
        for name in names:
            self.known.pop(name, None)
        self._queue(names)

    def _follow(self, resources: Mapping[str, Versioned]) -> None:
        """Bring the queues up to date with `resources`."""
        before, self._resources = self._resources, resources
        if before is resources:
            return
        if before is not None:
            self._queue(name for names in difference(before, resources) for name in names)
            return
        self._changed.clear()
        self._gone.clear()
        self._queue(sorted(resources.keys() if self.wildcard else resources.keys() & self.names))
        self._queue(sorted((self.known.keys() | self.unanswered) - resources.keys()))

    def _queue(self, names: Iterable[str]) -> None:
        """Decide for each of `names` if it is to be sent or removed."""
        resources = self._resources
        if resources is None:
            return
        for name in names:
            self._changed.pop(name, None)
            self._gone.pop(name, None)
            resource = resources.get(name)
            if resource is None:
                if name in self.known or name in self.unanswered:
                    self._gone[name] = None
            elif (self.wildcard or name in self.names) and self.known.get(name) != resource.version:
                self._changed[name] = None
