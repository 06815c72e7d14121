"""Protobuf bodies: all field types decode to JSON; malformed bodies are rejected.

The bytes are handmade here; ``test_kubectl`` covers the bodies of a real kubectl.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from certferry.kube.apiserver.schema.protobuf import MAGIC, NotProtobuf, decode
from tests.kube.support.server_process import server

MEDIA = "application/vnd.kubernetes.protobuf"


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(result) + bytes([value])


def envelope(version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, version) + field(2, kind)) + field(2, raw)


def test_maps_times_pointers_and_embedded_messages() -> None:
    meta = field(1, "a") + field(8, field(1, 1_700_000_000)) + field(11, field(1, "k") + field(2, "v"))
    secret = field(1, meta) + field(2, field(1, "x") + field(2, b"\x00\xff")) + field(3, "") + field(5, 0)
    assert decode(envelope("v1", "Secret", secret), "Secret") == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"k": "v"}},
        "data": {"x": "AP8="},
        "immutable": False,  # a set pointer, unlike the empty type
    }
    backend = field(4, field(1, "web") + field(2, field(2, 80)))
    rule = field(1, "a.example.com") + field(2, field(1, field(1, field(1, "/") + field(2, backend))))
    ingress = decode(envelope("networking.k8s.io/v1", "Ingress", field(2, field(3, rule))), "Ingress")
    path = {"path": "/", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    assert ingress["spec"]["rules"] == [{"host": "a.example.com", "http": {"paths": [path]}}]
    by_name = field(1, field(3, 80) + field(4, field(1, 1) + field(3, "http")))
    service = decode(envelope("v1", "Service", field(2, by_name)), "Service")
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": "http"}]


def test_every_truncated_body_is_rejected_or_decoded() -> None:
    whole = envelope("v1", "Secret", field(1, field(1, "a")) + field(2, field(1, "x") + field(2, b"y")))
    for end in range(len(whole)):
        try:
            result = decode(whole[:end], "Secret")
        except NotProtobuf:
            continue
        assert set(result) <= {"apiVersion", "kind"}


@pytest.mark.parametrize("body", [b"", b"{}", MAGIC + b"\xff", MAGIC + b"\x0f\x01", b"k8s\0" + b"\x12\x7f"])
async def test_a_malformed_body_is_a_bad_request(tmp_path: Path, body: bytes) -> None:
    async with server(tmp_path) as api:
        refused = await api.post("/api/v1/namespaces/default/secrets", body, media=MEDIA)
        assert (refused.code, refused.body["reason"]) == (400, "BadRequest")
