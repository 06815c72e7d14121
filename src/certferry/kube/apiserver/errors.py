"""What a client is told when something is refused: the Status object, with Kubernetes' own words.

Everything in the server raises ``Refused``; `http` writes it as the answer. The texts are those of
k8s.io/apimachinery (api/errors, util/validation/field), because kubectl prints them and programs
match them. It knows no kind and never quotes a Secret's content.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from certferry.core.redaction import masked

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class ApiStatus(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.warnings: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """The Status object."""
        details = _masked(self.details)
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": masked(self.message),
        }
        body |= {"reason": self.reason} if self.reason else {}
        return body | ({"details": details} if details else {}) | {"code": self.code}


class Resource(msgspec.Struct, frozen=True):
    """A group and a plural, as error texts name a kind."""

    group: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def details(self, name: str = "") -> dict[str, Any]:
        """As a Status names the object."""
        fields = {"name": name, "group": self.group, "kind": self.plural}
        return {k: v for k, v in fields.items() if v}


class FieldError(msgspec.Struct, frozen=True):
    """One fault in one field of an object."""

    field: str
    type: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def required(field: str, detail: str = "") -> FieldError:
    """A field that must be there is not."""
    return FieldError(field, "FieldValueRequired", _joined("Required value", detail))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """A value that breaks a rule; `detail` says which."""
    return FieldError(field, "FieldValueInvalid", _joined(f"Invalid value: {_shown(value)}", detail))


def forbidden_field(field: str, detail: str) -> FieldError:
    """A value that is not allowed as things stand."""
    return FieldError(field, "FieldValueForbidden", _joined("Forbidden", detail))


def duplicate(field: str, value: Any) -> FieldError:
    """A value that must be unique and is not."""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def unsupported(field: str, value: str, allowed: Sequence[str]) -> FieldError:
    """A value that is none of `allowed`."""
    listed = ", ".join(f'"{a}"' for a in allowed)
    return FieldError(
        field, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {listed}"
    )


def too_long(field: str, most: int) -> FieldError:
    """A value of more than `most` bytes."""
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")


def too_many(field: str, count: int, most: int) -> FieldError:
    """A list of more than `most` items."""
    return FieldError(field, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")


def immutable(field: str, value: Any) -> FieldError:
    """A value that may not change."""
    return invalid(field, value, "field is immutable")


def unprocessable(group: str, kind: str, name: str, faults: Sequence[FieldError]) -> ApiStatus:
    """422 for an object that breaks a rule; each text once, as the aggregate of the real one."""
    texts = list(dict.fromkeys(str(f) for f in faults))
    text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    causes = [{"reason": f.type, "message": f.body, "field": f.field} for f in faults]
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    full = f"{kind}.{group}" if group else kind
    return ApiStatus(
        422, "Invalid", f'{full} "{name}" is invalid: {text}', {k: v for k, v in details.items() if v}
    )


def bad_request(message: str) -> ApiStatus:
    """400: the request cannot be understood."""
    return ApiStatus(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> ApiStatus:
    """404: no such object."""
    return ApiStatus(404, "NotFound", f'{resource} "{name}" not found', resource.details(name))


def unknown_path() -> ApiStatus:
    """404: nothing is served there."""
    return ApiStatus(404, "NotFound", "the server could not find the requested resource", {})


def exists(resource: Resource, name: str) -> ApiStatus:
    """409: the name is taken."""
    return ApiStatus(409, "AlreadyExists", f'{resource} "{name}" already exists', resource.details(name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> ApiStatus:
    """409: the object is not the one that the client knows."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiStatus(409, "Conflict", message, resource.details(name))


def forbidden(resource: Resource, name: str, why: str) -> ApiStatus:
    """403: not allowed, whoever asks or because of the object."""
    named = f'{resource} "{name}"' if name else str(resource)
    return ApiStatus(403, "Forbidden", f"{named} is forbidden: {why}", resource.details(name))


def unauthorized() -> ApiStatus:
    """401: nobody we know."""
    return ApiStatus(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiStatus:
    """405: not on this path."""
    return ApiStatus(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def expired(message: str) -> ApiStatus:
    """410: that part of the past is no longer kept."""
    return ApiStatus(410, "Expired", message)


def unsupported_media(message: str) -> ApiStatus:
    """415: a body in a form that is not read here."""
    return ApiStatus(415, "UnsupportedMediaType", message)


def too_large_revision(asked: int, current: int) -> ApiStatus:
    """504: a revision that has not come yet."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return ApiStatus(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        {"causes": causes, "retryAfterSeconds": 1},
    )


def internal(message: str) -> ApiStatus:
    """500: our fault, not the client's."""
    return ApiStatus(500, "InternalError", f"Internal error occurred: {message}")


def _masked(value: Any) -> Any:
    """The same, its texts without key material."""
    match value:
        case str():
            return masked(value)
        case dict():
            return {key: _masked(inner) for key, inner in value.items()}
        case list():
            return [_masked(inner) for inner in value]
        case _:
            return value


def _joined(head: str, detail: str) -> str:
    return f"{head}: {detail}" if detail else head


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
