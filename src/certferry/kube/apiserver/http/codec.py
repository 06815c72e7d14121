"""Decoding of request bodies and patches to checked objects.

``fieldValidation`` decides about unknown fields: Strict rejects, Warn (the default) adds Warning headers, Ignore
is silent. They are never stored. Texts are the real server's, but no text quotes a Secret's content.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#validation-for-unrecognized-or-duplicate-fields
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from certferry.kube.apiserver.errors import ApiStatus, bad_request, invalid, unprocessable, unsupported_media
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.schema import decode, patch, protobuf
from certferry.runtime.bounded_input import InvalidInput, load_json, load_yaml

PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
APPLY: Final = "application/apply-patch+yaml"
VALIDATIONS: Final = ("Ignore", "Warn", "Strict")
MAX_OPTIONS: Final = 32_768
"""Bytes of the options of a deletion or of a review, which every user may send; they are parsed on the loop."""
_REDACTED: Final = "<contents redacted>"


class Warnings(list[str]):
    """Sentences that are sent as Warning headers."""


def read_body(body: bytes, media: str, expected: str) -> Any:
    """Decode `body` to a plain value; `expected` is the type of a protobuf body. Raises ``ApiStatus``."""
    try:
        match media:
            case "" | "application/json" | "*/*":
                return load_json(body) if body else None
            case protobuf_media if protobuf_media == PROTOBUF:
                return protobuf.decode(body, expected)
            case "application/yaml":
                return load_yaml(body)
    except (InvalidInput, protobuf.NotProtobuf) as error:
        raise bad_request(f"the object provided is unrecognized (must be of type {expected}): {error}") from None
    raise unsupported_media(
        "the body of the request was in an unknown format - accepted media types include: "
        f"application/json, application/yaml, {PROTOBUF}"
    )


def parse(body: bytes, media: str, kind: ResourceDefinition, validation: str, warnings: Warnings) -> Object:
    """Decode an object of `kind`. Raises ``ApiStatus``."""
    value = read_body(body, media, kind.name)
    _check_kind(value, kind)
    return canonical_object(value, kind, validation, warnings)


def canonical_object(value: Any, kind: ResourceDefinition, validation: str, warnings: Warnings) -> Object:
    """Return `value` as a canonical object of `kind`. Raises ``ApiStatus``."""
    head = f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: '
    try:
        obj, unknown = decode.canonical(kind.name, value)
    except decode.Mismatch as error:
        raise bad_request(head + str(error)) from None
    if unknown and validation == "Strict":
        raise bad_request(head + _strict_message(unknown))
    if validation == "Warn":
        warnings += [f'unknown field "{path}"' for path in unknown]
    return obj


def parse_apply(body: bytes, kind: ResourceDefinition, target: str) -> Object:
    """Decode an apply patch for `target` without adding unset fields. Raises ``ApiStatus``."""
    try:
        value = load_yaml(body) if body[:1] != b"{" else load_json(body)
    except InvalidInput as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if not isinstance(value, dict):
        raise bad_request("error decoding patch: the body is no object")
    version, name = value.get("apiVersion", ""), value.get("kind", "")
    if version != kind.api_version:
        raise bad_request(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {version}, expected: {kind.api_version}"
        )
    if name != kind.name:
        raise bad_request(f"the kind in the data ({name}) does not match the expected kind ({kind.name})")
    if isinstance(meta := value.get("metadata"), dict) and meta.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    head = f"failed to create typed patch object ({target}; {kind.group}/{kind.version}, Kind={kind.name}): "
    try:
        obj, unknown = decode.canonical(kind.name, value, add_unset=False)
    except decode.Mismatch as error:
        raise ApiStatus(500, "", head + str(error)) from None
    if unknown:
        messages = [f".{path}: field not declared in schema" for path in unknown]
        raise ApiStatus(500, "", head + (messages[0] if len(messages) == 1 else "errors:\n  " + "\n  ".join(messages)))
    return obj


def parse_options(body: bytes, media: str, kind: str = "DeleteOptions") -> Object:
    """Decode options from a body; return an empty object if there is none. Raises ``ApiStatus``."""
    if len(body) > MAX_OPTIONS:
        raise ApiStatus(413, "RequestEntityTooLarge", f"{kind} has more than {MAX_OPTIONS} bytes")
    value = read_body(body, media, kind) if body else None
    if not value:
        return {}
    try:
        obj, _ = decode.canonical(kind, value)
    except decode.Mismatch as error:
        raise bad_request(str(error)) from None
    return obj


def patcher(
    body: bytes, media: str, kind: ResourceDefinition, validation: str, warnings: Warnings
) -> Callable[[Object], Object]:
    """Return a function that applies the patch in `body`. Both raise ``ApiStatus``."""
    appliers: dict[str, Callable[[Object, Any], Any]] = {
        "application/json-patch+json": patch.json_patch,
        "application/merge-patch+json": patch.merge_patch,
        "application/strategic-merge-patch+json": lambda old, requested: patch.strategic_merge(
            old, requested, kind.name
        ),
    }
    if media not in appliers:
        raise unsupported_media(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join([*appliers, APPLY])}"
        )
    apply = appliers[media]
    try:
        requested = load_json(body)
    except InvalidInput as error:
        raise bad_request(f"error decoding patch: {error}") from None

    def patched(old: Object) -> Object:
        try:
            value = apply(old, requested)
        except patch.BadPatch as error:
            raise bad_request(str(error)) from None
        except patch.PatchTooLarge as error:
            raise ApiStatus(413, "RequestEntityTooLarge", str(error)) from None
        except patch.PatchFailed:
            text = "the server rejected our request due to an error in our request"
            raise ApiStatus(422, "Invalid", text, {}) from None
        return _canonical_patched(value, requested, kind, validation, warnings)

    return patched


def _canonical_patched(
    value: Any, requested: Any, kind: ResourceDefinition, validation: str, warnings: Warnings
) -> Object:
    shown = _REDACTED if kind.encrypted else _go_format(requested)
    try:
        obj, unknown = decode.canonical(kind.name, value)
    except decode.Mismatch as error:
        raise unprocessable("", "", "", [invalid("patch", shown, error.converter)]) from None
    if unknown and validation == "Strict":
        raise unprocessable("", "", "", [invalid("patch", shown, _strict_message(unknown))])
    if validation == "Warn":
        warnings += [f'unknown field "{path}"' for path in unknown]
    return obj


def _go_format(value: Any) -> str:
    """Format as Go's `%+v` does."""
    match value:
        case dict():
            return "map[" + " ".join(f"{k}:{_go_format(v)}" for k, v in sorted(value.items())) + "]"
        case list():
            return "[" + " ".join(map(_go_format, value)) + "]"
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
    return str(value)


def _check_kind(value: Any, kind: ResourceDefinition) -> None:
    if not isinstance(value, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.name})")
    version, name = value.get("apiVersion", ""), value.get("kind", "")
    if version not in ("", kind.api_version):
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if name not in ("", kind.name):
        short = version.rpartition("/")[2]
        raise bad_request(
            f'{name} in version "{short or version}" cannot be handled as a {kind.name}: '
            f'no kind "{name}" is registered for {kind.api_version} here'
        )


def _strict_message(unknown: list[str]) -> str:
    return "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown)
