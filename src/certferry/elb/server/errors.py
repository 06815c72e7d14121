"""The one way a request of the ELB API fails: status, code and a sentence (elb-v3-api.md 1.3).

Rules raise it, the application answers it. Sentences are for people and hold no key material.
"""

from __future__ import annotations


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


def malformed(sentence: str) -> Refused:
    """400: a parameter is bad or missing, or a field cannot be changed."""
    return Refused(400, "ELB.8902", sentence)


def unusable(sentence: str, *, authority: bool = False) -> Refused:
    """400: the content of a certificate or a key; of an authority for clients' certificates."""
    return Refused(400, "ELB.5051" if authority else "ELB.1011", sentence)


def unauthenticated(sentence: str) -> Refused:
    """401: no token and no signature, or not a valid one."""
    return Refused(401, "SYS.0401", sentence)


def forbidden(sentence: str) -> Refused:
    """403: the user's role or project."""
    return Refused(403, "SYS.0403", sentence)


def switched_off(sentence: str) -> Refused:
    """403: a feature of the vendor's that is not served here."""
    return Refused(403, "ELB.8962", sentence)


def missing(kind: str, identifier: str) -> Refused:
    """404: no such object in this project."""
    return Refused(404, "ELB.8904", f"{kind} {identifier} could not be found")


def unknown_uri(path: str) -> Refused:
    """404: no such API."""
    return Refused(404, "APIGW.0101", f"The API {path} does not exist")


def conflict(sentence: str) -> Refused:
    """409: in use, locked, or against another object."""
    return Refused(409, "ELB.8907", sentence)


def over_quota(resource: str, limit: int) -> Refused:
    """409: a limit of the settings."""
    return Refused(409, "ELB.8905", f"Quota exceeded for resource: {resource} (at most {limit})")
