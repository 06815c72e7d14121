"""Errors of the ELB API: status, code and a sentence (elb-v3-api.md 1.3).

Sentences are for users and contain no key material.
"""

from __future__ import annotations


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


def bad_request(sentence: str) -> ApiError:
    """400: a parameter is bad or missing, or a field cannot be changed."""
    return ApiError(400, "ELB.8902", sentence)


def unusable(sentence: str, *, authority: bool = False) -> ApiError:
    """400: the content of a certificate or a key; of an authority for clients' certificates."""
    return ApiError(400, "ELB.5051" if authority else "ELB.1011", sentence)


def unauthenticated(sentence: str) -> ApiError:
    """401: no token and no signature, or not a valid one."""
    return ApiError(401, "SYS.0401", sentence)


def forbidden(sentence: str) -> ApiError:
    """403: the user's role or project."""
    return ApiError(403, "SYS.0403", sentence)


def not_supported(sentence: str) -> ApiError:
    """403: a feature of the vendor's that is not served here."""
    return ApiError(403, "ELB.8962", sentence)


def not_found(kind: str, identifier: str) -> ApiError:
    """404: no such object in this project."""
    return ApiError(404, "ELB.8904", f"{kind} {identifier} could not be found")


def unknown_path(path: str) -> ApiError:
    """404: no such API."""
    return ApiError(404, "APIGW.0101", f"The API {path} does not exist")


def conflict(sentence: str) -> ApiError:
    """409: in use, locked, or against another object."""
    return ApiError(409, "ELB.8907", sentence)


def over_quota(resource: str, limit: int) -> ApiError:
    """409: a limit of the settings."""
    return ApiError(409, "ELB.8905", f"Quota exceeded for resource: {resource} (at most {limit})")
