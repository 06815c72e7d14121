"""Requests that a user of role `view` may send and that cost the server far more than their sender."""

from __future__ import annotations

import json
from urllib.parse import quote

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
BIG = 3_000_000
"""About the bytes of a body that is still read."""


def _json(inner: bytes) -> bytes:
    return b'{"spec":{"x":' + inner + b"}}"


def _review(media: str, body: bytes) -> tuple[str, str, bytes, str]:
    return "POST", REVIEWS, body, media


def _events(query: str) -> tuple[str, str, bytes, str]:
    return "GET", f"/api/v1/events?{query}", b"", JSON


def _aliases(width: int) -> bytes:
    lines = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width) if n else 'x'}]" for n in range(20)]
    return "\n".join(lines).encode()


REQUESTS = {
    "deep JSON": _review(JSON, b'{"spec":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"),
    "small numbers": _review(JSON, _json(b"[" + b",".join([b"1"] * (BIG // 2)) + b"]")),
    "small objects": _review(JSON, _json(b"[" + b",".join([b"{}"] * (BIG // 3)) + b"]")),
    "many keys": _review(JSON, json.dumps({"spec": {str(n): n for n in range(200_000)}}).encode()),
    "a long number": _review(JSON, _json(b"9" * 2_900_000)),
    "a long exponent": _review(JSON, _json(b"1e" + b"9" * 1_000_000)),
    "plain YAML": _review(YAML, b"spec:\n  x: [" + b"1, " * (BIG // 3) + b"]\n"),
    "a long YAML number": _review(YAML, b"spec:\n  x: " + b"1" * 2_900_000 + b"\n"),
    "a YAML number of base 60": _review(YAML, b"spec:\n  x: " + b":".join([b"59"] * 900_000) + b"\n"),
    "YAML aliases": _review(YAML, _aliases(9)),
    "many YAML keys": _review(YAML, "\n".join(f"k{n}: 1" for n in range(250_000)).encode()),
    "deep YAML": _review(YAML, b"spec: " + b"{a: " * 300_000),
    "many Protobuf fields": _review(PROTOBUF, b"k8s\0" + b"\x0a\x00" * 1_400_000),
    "Protobuf beyond its end": _review(PROTOBUF, b"k8s\0" + b"\x12\xff\xff\xff\x7f" * 500_000),
    "a long verb": _review(JSON, json.dumps({"spec": {"resourceAttributes": {"verb": "a" * 2_900_000}}}).encode()),
    "no UTF-8": _review(JSON, _json(b'"' + b"\xff" * 2_900_000 + b'"')),
    "escapes": _review(JSON, _json(b'"' + b"\\u0041" * 480_000 + b'"')),
    "one key again and again": _review(JSON, b"{" + b",".join([b'"a":1'] * 480_000) + b"}"),
    "600 label requirements": _events("labelSelector=" + quote(",".join(f"a{n}!=b" for n in range(600)))),
    "800 label values": _events("labelSelector=" + quote(f"a in ({','.join(f'b{n}' for n in range(800))})")),
    "a long label": _events("labelSelector=" + quote("a" * 4_000 + "!")),
    "open brackets": _events("labelSelector=" + quote("a in (" + "(" * 5_000)),
    "400 field requirements": _events("fieldSelector=" + quote(",".join(f"metadata.name!=b{n}" for n in range(400)))),
    "a wrong continue token": _events("limit=1&continue=" + "A" * 6_000),
    "a limit below zero": _events("limit=-99999999999999999999"),
    "a long resource version": _events("resourceVersion=" + "9" * 5_000),
}
"""Name → method, path, body, media type."""
