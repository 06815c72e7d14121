"""A certificate that somebody typed in, judged before it is saved: the same checks as everywhere.

The dialogs ask it while one types and again at OK. It judges by ``core.checks`` alone; what it adds is
beside which field a sentence belongs. Pure: texts in, a ``Judgement`` out, and no key in it.
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
    """Where the certificate is to go."""

    present: Chain | None = None
    """What is there now."""
    serving: Chain | None = None
    """What clients are shown in its place now; usually the same."""
    hosts: tuple[str, ...] = ()
    """The hosts that depend on it."""
    taken: Mapping[str, str] = MappingProxyType({})
    """Names that another certificate of the listener has."""


class FormCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of the texts; with `errors` they are not saved."""

    chain: Chain | None = None
    errors: dict[str, str] = {}
    findings: tuple[Finding, ...] = ()

    @property
    def words(self) -> tuple[Finding, ...]:
        """The findings that do not stand beside a field already."""
        said = " ".join(self.errors.values())
        return tuple(f for f in self.findings if f.sentence not in said)


def check_certificate_form(
    certificate: str, private_key: str, place: CertificateContext, now: datetime
) -> FormCheck:
    """The texts of both fields. An empty key stands for the present one, which must fit then."""
    errors: dict[str, str] = {}
    chain, spki = _chain(certificate, errors), _key(private_key, errors)
    if chain is None:
        return FormCheck(errors=errors)
    if spki is None and KEY not in errors:
        spki = place.present.spki if place.present else None
        if spki != chain.spki:
            errors[KEY] = (
                "The present key belongs to another certificate: give the new one's key too."
                if place.present
                else "Give the private key of the certificate."
            )
    elif spki is not None and spki != chain.spki:
        errors[KEY] = "This private key belongs to another certificate."
    if objection := checks.refusal(chain, place.serving, place.hosts, now):
        errors[CERTIFICATE] = f"It cannot take the place of the one in service: {objection.sentence}."
    found = checks.findings(
        chain, place.present or place.serving, place.hosts, now, taken=place.taken, key=spki
    )
    return FormCheck(chain=chain, errors=errors, findings=found)


def _chain(text: str, errors: dict[str, str]) -> Chain | None:
    try:
        return parse_chain(text)
    except InvalidPem as defect:
        errors[CERTIFICATE] = defect.sentence
        return None


def _key(text: str, errors: dict[str, str]) -> str | None:
    """SHA-256 of the public half."""
    if not text:
        return None
    try:
        return parse_key(text).spki
    except InvalidPem as defect:
        errors[KEY] = defect.sentence
        return None
