"""Error answers (``Status`` objects) in the words of the real API server.

kubectl prints these texts and programs match them. No text quotes a Secret's content.
Upstream: https://github.com/kubernetes/apimachinery/blob/master/pkg/api/errors/errors.go and
https://github.com/kubernetes/apimachinery/blob/master/pkg/util/validation/field/errors.go
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from certferry.core.redaction import masked

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class ApiStatus(Exception):
    """An error answer. Every part of the server raises it; ``http.server`` sends it."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.warnings: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """Return the Status object."""
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
    """Group and plural of a kind, as error texts name it."""

    group: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def details(self, name: str = "") -> dict[str, Any]:
        """Return the ``details`` of a Status about the object `name`."""
        fields = {"name": name, "group": self.group, "kind": self.plural}
        return {k: v for k, v in fields.items() if v}


class FieldError(msgspec.Struct, frozen=True):
    """An invalid field of an object."""

    field: str
    type: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def required(field: str, detail: str = "") -> FieldError:
    """Return the error for a missing field."""
    return FieldError(field, "FieldValueRequired", _joined("Required value", detail))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """Return the error for a value that breaks the rule in `detail`."""
    return FieldError(field, "FieldValueInvalid", _joined(f"Invalid value: {_shown(value)}", detail))


def all_invalid(field: str, value: Any, details: Iterable[str]) -> Iterator[FieldError]:
    """Yield an error for each rule in `details` that a value breaks."""
    return (invalid(field, value, detail) for detail in details)


def forbidden_field(field: str, detail: str) -> FieldError:
    """Return the error for a value that is not allowed in this state."""
    return FieldError(field, "FieldValueForbidden", _joined("Forbidden", detail))


def duplicate(field: str, value: Any) -> FieldError:
    """Return the error for a value that must be unique."""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def unsupported(field: str, value: str, allowed: Sequence[str]) -> FieldError:
    """Return the error for a value outside `allowed`."""
    listed = ", ".join(f'"{a}"' for a in allowed)
    return FieldError(
        field, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {listed}"
    )


def one_of(field: str, value: str, allowed: Sequence[str]) -> Iterator[FieldError]:
    """Yield an error for a value outside `allowed`."""
    if value not in allowed:
        yield unsupported(field, value, allowed)


def too_long(field: str, most: int) -> FieldError:
    """Return the error for a value of more than `most` bytes."""
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")


def too_many(field: str, count: int, most: int) -> FieldError:
    """Return the error for a list of more than `most` items."""
    return FieldError(field, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")


def immutable(field: str, value: Any) -> FieldError:
    """Return the error for a changed value that may not change."""
    return invalid(field, value, "field is immutable")


def unprocessable(group: str, kind: str, name: str, faults: Sequence[FieldError]) -> ApiStatus:
    """Return a 422 for an invalid object; repeated texts appear once, as upstream aggregates them."""
    texts = list(dict.fromkeys(str(f) for f in faults))
    text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    causes = [{"reason": f.type, "message": f.body, "field": f.field} for f in faults]
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    full = f"{kind}.{group}" if group else kind
    return ApiStatus(422, "Invalid", f'{full} "{name}" is invalid: {text}', {k: v for k, v in details.items() if v})


def bad_request(message: str) -> ApiStatus:
    """Return a 400 for a malformed request."""
    return ApiStatus(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> ApiStatus:
    """Return a 404 for a missing object."""
    return ApiStatus(404, "NotFound", f'{resource} "{name}" not found', resource.details(name))


def unknown_path() -> ApiStatus:
    """Return a 404 for a path that is not served."""
    return ApiStatus(404, "NotFound", "the server could not find the requested resource", {})


def exists(resource: Resource, name: str) -> ApiStatus:
    """Return a 409 for an existing name."""
    return ApiStatus(409, "AlreadyExists", f'{resource} "{name}" already exists', resource.details(name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> ApiStatus:
    """Return a 409 for an outdated precondition."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiStatus(409, "Conflict", message, resource.details(name))


def forbidden(resource: Resource, name: str, why: str) -> ApiStatus:
    """Return a 403 for a missing permission or a protected object."""
    named = f'{resource} "{name}"' if name else str(resource)
    return ApiStatus(403, "Forbidden", f"{named} is forbidden: {why}", resource.details(name))


def unauthorized() -> ApiStatus:
    """Return a 401 for an unknown client."""
    return ApiStatus(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiStatus:
    """Return a 405 for a method that the path does not support."""
    return ApiStatus(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def expired(message: str) -> ApiStatus:
    """Return a 410 for a revision whose history was dropped."""
    return ApiStatus(410, "Expired", message)


def unsupported_media(message: str) -> ApiStatus:
    """Return a 415 for a media type that the server cannot read."""
    return ApiStatus(415, "UnsupportedMediaType", message)


def too_large_revision(requested: int, current: int) -> ApiStatus:
    """Return a 504 for a future revision."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return ApiStatus(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {requested}, current: {current}",
        {"causes": causes, "retryAfterSeconds": 1},
    )


def internal(message: str) -> ApiStatus:
    """Return a 500 for an internal error."""
    return ApiStatus(500, "InternalError", f"Internal error occurred: {message}")


def _masked(value: Any) -> Any:
    """Return `value` with key material in its texts masked."""
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
