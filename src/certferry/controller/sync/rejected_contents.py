"""Contents of Secrets that the ELB rejected: unusable from then on, whatever our own checks say.

A rejected content is sent again after a growing delay, because a setting of the ELB may have changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec.structs import replace

from certferry.controller.sync.apply import Failure
from certferry.core.model.kubernetes import ClusterView, Secret, SecretProblem
from certferry.runtime.backoff import delay_after

RETRY: Final = (1.0, 600.0)
"""Seconds until a content is sent again: the first time, the longest."""


class _Rejection(NamedTuple):
    sentence: str
    times: int
    until: float
    """The monotonic second from which the content is sent again."""


class RejectedContents:
    """The rejected contents of one controller, by chain digest."""

    def __init__(self) -> None:
        self._rejections: dict[str, _Rejection] = {}

    @property
    def delay(self) -> float | None:
        """Seconds until a content is to be sent again; None if none was rejected."""
        now = time.monotonic()
        return min((max(0.0, r.until - now) for r in self._rejections.values()), default=None)

    def record(self, failures: Iterable[Failure]) -> bool:
        """Take the steps that the ELB rejected; return whether a content is rejected from now on."""
        rejected = {f.step.material: f.sentence for f in failures if f.step.material and f.by_content}
        for digest, sentence in rejected.items():
            before = self._rejections.get(digest)
            times = before.times + 1 if before else 1
            self._rejections[digest] = _Rejection(sentence, times, time.monotonic() + delay_after(times, *RETRY))
        return bool(rejected)

    def without(self, view: ClusterView) -> ClusterView:
        """Return `view` with the reason in place of each content that is rejected now."""
        if not self._rejections:
            return view
        contents = {s.chain.digest for s in view.secrets.values() if s.chain}
        self._rejections = {digest: r for digest, r in self._rejections.items() if digest in contents}
        now = time.monotonic()
        sentences = {digest: r.sentence for digest, r in self._rejections.items() if r.until > now}
        rejected = {
            name: _rejected(secret, sentences[secret.chain.digest])
            for name, secret in view.secrets.items()
            if secret.chain and secret.chain.digest in sentences
        }
        return replace(view, secrets=MappingProxyType({**view.secrets, **rejected}))


def _rejected(secret: Secret, sentence: str) -> Secret:
    text = f"The load balancer rejects the certificate: {sentence.rstrip('.')}."
    return replace(secret, chain=None, flaw=SecretProblem(reason="Rejected", sentence=text))
