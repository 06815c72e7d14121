"""Defaults and validation of Secret and ConfigMap. No error quotes a value.

Upstream: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go
(ValidateSecret, ValidateConfigMap)
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from certferry.kube.apiserver.errors import (
    FieldError,
    all_invalid,
    forbidden_field,
    immutable,
    invalid,
    required,
    too_long,
)
from certferry.kube.apiserver.resources import names

MAX_DATA = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"
_NEEDED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def default_secret(secret: dict[str, Any]) -> None:
    """Move `stringData` into `data`; set the type Opaque if there is none."""
    texts = secret.pop("stringData", None)
    if texts:
        data = secret.setdefault("data", {})
        data |= {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    secret.setdefault("type", "Opaque")


def check_secret(secret: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of a Secret; `old` is None for a new one."""
    if old is not None:
        if secret["type"] != old["type"]:
            yield immutable("type", secret["type"])
        yield from _frozen(secret, old, ("data",))
    data = secret.get("data", {})
    yield from _keys(data, "data")
    if sum(len(v) * 3 // 4 for v in data.values()) > MAX_DATA:
        yield too_long("data", MAX_DATA)
    yield from _typed(secret, data)


def check_config_map(config: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    """Yield the errors of a ConfigMap; `old` is None for a new one."""
    if old is not None:
        yield from _frozen(config, old, ("data", "binaryData"))
    data, binary = config.get("data", {}), config.get("binaryData", {})
    yield from _keys(data, "data")
    yield from _keys(binary, "binaryData")
    for key in data.keys() & binary.keys():
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    if sum(len(v.encode()) for v in data.values()) + sum(len(v) * 3 // 4 for v in binary.values()) > MAX_DATA:
        yield too_long("", MAX_DATA)


def _keys(data: dict[str, str], path: str) -> Iterator[FieldError]:
    for key in data:
        yield from all_invalid(f"{path}[{key}]", key, names.data_key(key))


def _frozen(new: dict[str, Any], old: dict[str, Any], fields: tuple[str, ...]) -> Iterator[FieldError]:
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden_field("immutable", _FROZEN)
    for field in fields:
        if new.get(field) != old.get(field):
            yield forbidden_field(field, _FROZEN)


def _typed(secret: dict[str, Any], data: dict[str, str]) -> Iterator[FieldError]:
    kind = secret["type"]
    for key in _NEEDED.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif kind.startswith("kubernetes.io/docker") and not _is_json_object(data[key]):
            yield invalid(f"data[{key}]", _REDACTED, "must be a JSON object")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    if kind == "kubernetes.io/ssh-auth" and not data.get("ssh-privatekey"):
        yield required("data[ssh-privatekey]")
    account = "kubernetes.io/service-account.name"
    if kind == "kubernetes.io/service-account-token" and not secret["metadata"].get("annotations", {}).get(account):
        yield required(f"metadata.annotations[{account}]")


def _is_json_object(encoded: str) -> bool:
    try:
        return isinstance(json.loads(base64.b64decode(encoded)), dict)
    except (ValueError, binascii.Error):
        return False
