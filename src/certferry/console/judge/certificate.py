"""Checks of a certificate and key in a form, while the user types and again at OK.

The checks are those of ``core.checks``; this module assigns sentences to fields. The result contains no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from certferry.core import checks
from certferry.core.checks import Finding
from certferry.core.x509.pem import Chain, InvalidPem, parse_chain, parse_key

CERTIFICATE = "certificate"
KEY = "private_key"


class CertificateContext(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that a new one replaces, and the hosts that depend on it."""

    present: Chain | None = None
    """The present content."""
    serving: Chain | None = None
    """The content that clients get now; usually the same."""
    hosts: tuple[str, ...] = ()
    """Hosts whose clients get it."""
    overlapping: Mapping[str, str] = MappingProxyType({})
    """SNI names that another certificate of the listener has."""
    compromised: frozenset[str] = frozenset()
    """The public keys that are marked as compromised."""


class FormCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The parsed chain, errors by field, and findings. A form with `errors` is not saved."""

    chain: Chain | None = None
    errors: dict[str, str] = {}
    findings: tuple[Finding, ...] = ()

    @property
    def other_findings(self) -> tuple[Finding, ...]:
        """The findings that no error repeats."""
        sentences = " ".join(self.errors.values())
        return tuple(f for f in self.findings if f.sentence not in sentences)


def check_certificate_form(certificate: str, private_key: str, context: CertificateContext, now: datetime) -> FormCheck:
    """Check both fields. An empty key stands for the present one, which must match the certificate then."""
    errors: dict[str, str] = {}
    chain, spki = _chain(certificate, errors), _key(private_key, errors)
    if chain is None:
        return FormCheck(errors=errors)
    if spki is None and KEY not in errors:
        spki = context.present.spki if context.present else None
        if spki != chain.spki:
            errors[KEY] = (
                "The present key does not match this certificate. Enter the new private key too."
                if context.present
                else "Enter the private key of the certificate."
            )
    elif spki is not None and spki != chain.spki:
        errors[KEY] = "This private key does not match the certificate."
    if objection := checks.refusal(chain, context.serving, context.hosts, now, compromised=context.compromised):
        errors[CERTIFICATE] = f"It cannot replace the certificate in service: {objection.sentence}."
    findings = checks.findings(
        chain,
        context.present or context.serving,
        context.hosts,
        now,
        taken=context.overlapping,
        key=spki,
        compromised=context.compromised,
    )
    return FormCheck(chain=chain, errors=errors, findings=findings)


def _chain(text: str, errors: dict[str, str]) -> Chain | None:
    try:
        return parse_chain(text)
    except InvalidPem as defect:
        errors[CERTIFICATE] = defect.sentence
        return None


def _key(text: str, errors: dict[str, str]) -> str | None:
    """Return the SHA-256 of the public key; None if `text` is empty or invalid."""
    if not text:
        return None
    try:
        return parse_key(text).spki
    except InvalidPem as defect:
        errors[KEY] = defect.sentence
        return None
