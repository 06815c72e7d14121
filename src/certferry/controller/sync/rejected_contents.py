"""Contents of Secrets that the ELB rejected: unusable from then on, whatever our own checks say.

A rejected content is not sent again before it changes, or after ``RETRY`` seconds, because a setting of the ELB may have
changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from certferry.controller.sync.apply import Failure
from certferry.core.model.kubernetes import ClusterView, Secret, SecretProblem

RETRY: Final = 600.0


class RejectedContents:
    """The rejected contents of one controller."""

    def __init__(self) -> None:
        self._rejections: dict[str, tuple[float, str]] = {}
        """By chain digest: the monotonic second, and the ELB's sentence."""

    def record(self, failures: Iterable[Failure]) -> bool:
        """Take the steps that the ELB rejected; return whether a content is rejected from now on."""
        now = time.monotonic()
        new = {f.step.material: (now, f.sentence) for f in failures if f.step.material and f.by_content}
        self._rejections = {d: r for d, r in self._rejections.items() if now - r[0] < RETRY} | new
        return bool(new)

    def without(self, view: ClusterView) -> ClusterView:
        """Return `view` with the reason in place of each content that is rejected now."""
        now = time.monotonic()
        sentences = {digest: text for digest, (at, text) in self._rejections.items() if now - at < RETRY}
        if not sentences:
            return view
        rejected = {
            name: _rejected(secret, sentences[secret.chain.digest])
            for name, secret in view.secrets.items()
            if secret.chain and secret.chain.digest in sentences
        }
        return replace(view, secrets=MappingProxyType({**view.secrets, **rejected}))


def _rejected(secret: Secret, sentence: str) -> Secret:
    text = f"The load balancer rejects the certificate: {sentence.rstrip('.')}."
    return replace(secret, chain=None, flaw=SecretProblem(reason="Rejected", sentence=text))
