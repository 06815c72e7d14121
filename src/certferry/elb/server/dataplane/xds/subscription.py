"""One Envoy's subscription to one type of resource: the names it wants and the versions it has. No I/O.

Source: the incremental variant of the xDS protocol (envoyproxy.io, "xDS REST and gRPC protocol").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from certferry.core.changed_keys import changed_keys


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
    """The names asked for, the versions that Envoy has or is being sent, and the responses under way."""

    def __init__(self) -> None:
        self.wildcard = False
        self.names: set[str] = set()
        self.known: dict[str, str] = {}
        self.flight: dict[str, tuple[tuple[str, str], ...]] = {}
        """Names and versions by nonce, of responses without an answer yet."""
        self.unanswered: set[str] = set()
        """Names asked for and not heard of since."""
        self._greeted = False
        self._blank = False
        self._fully_sent: Mapping[str, Versioned] | None = None
        """Resources of which nothing was left to send, until something is forgotten or asked for."""
        self._due: tuple[Mapping[str, Versioned], set[str]] | None = None
        """The last answer of `changed`, less what was sent since."""

    def request(self, request: Any) -> Answer | None:
        """Take a DeltaDiscoveryRequest; an answer if it is one to a response of ours."""
        self._subscribe(request)
        for name in request.resource_names_unsubscribe:
            self._forget(name)
        if not request.response_nonce:
            return None
        sent = self.flight.pop(request.response_nonce, None)
        if sent is None:
            return None
        return Answer(sent, request.error_detail.message if request.HasField("error_detail") else "")

    def _subscribe(self, request: Any) -> None:
        names = set(request.resource_names_subscribe)
        if names or request.initial_resource_versions or not self._greeted:
            self._reset_cache()
        if not self._greeted:
            self._greeted = True
            self.wildcard = not names  # the old way to say "all"
            self._blank = not request.initial_resource_versions
        if "*" in names:
            self.wildcard = True
            names.discard("*")
        self.names |= names
        self.unanswered |= names
        for name in names:
            # Envoy subscribes again because it no longer has the resource.
            self.known.pop(name, None)
        self.known.update(request.initial_resource_versions)
        self.unanswered -= self.known.keys()

    def _forget(self, name: str) -> None:
        self._reset_cache()
        if name == "*":
            self.wildcard = False
        self.names.discard(name)
        self.unanswered.discard(name)
        self.known.pop(name, None)

    def changed(self, resources: Mapping[str, Versioned]) -> list[str]:
        """Return the wanted names that Envoy lacks or has in another version, sorted."""
        versions, names, fully_sent = self.known, self.names, self._fully_sent
        if fully_sent is resources:
            return []
        if fully_sent is not None:  # a thousand secrets, of which one is new: the others are the same objects
            fresh = [(name, resources[name]) for name in changed_keys(fully_sent, resources)]
        elif self.wildcard:
            fresh = list(resources.items())
        else:
            fresh = [(name, r) for name in names if (r := resources.get(name)) is not None]
        missing = [
            name
            for name, resource in fresh
            if (self.wildcard or name in names) and versions.get(name) != resource.version
        ]
        if not missing:
            self._fully_sent = resources
        self._due = (resources, set(missing))
        return sorted(missing)

    def gone(self, resources: Mapping[str, Any]) -> list[str]:
        """Return the names that Envoy has or wants and that no longer exist, sorted."""
        if not self.unanswered and self.known.keys() <= resources.keys():
            return []  # nearly always, and a set less
        return sorted((self.known.keys() - resources.keys()) | (self.unanswered - resources.keys()))

    def owes_greeting(self) -> bool:
        """Return True while Envoy waits for a first response, even an empty one."""
        return self.wildcard and self._blank

    def send(self, nonce: str, items: Iterable[tuple[str, str]], gone: Sequence[str] = ()) -> None:
        """Notes a response under way."""
        self.flight[nonce] = sent = tuple(items)
        self.known.update(sent)
        self.unanswered.difference_update(name for name, _ in sent)
        self._blank = False
        if self._due is not None:
            self._due[1].difference_update(name for name, _ in sent)
            if not self._due[1]:
                self._fully_sent = self._due[0]
        for name in gone:
            self._reset_cache()
            self.known.pop(name, None)
            self.unanswered.discard(name)

    def again(self, names: Iterable[str]) -> None:
        """`names` shall be sent once more, whatever Envoy has."""
        self._reset_cache()
        for name in names:
            self.known.pop(name, None)

    def _reset_cache(self) -> None:
        self._fully_sent = self._due = None

    def under_way(self) -> Iterator[str]:
        """Names in responses without an answer."""
        return (name for sent in self.flight.values() for name, _ in sent)
