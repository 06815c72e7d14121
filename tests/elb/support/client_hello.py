"""A TLS client of one message: it offers one version and one suite, and reads what the server chose.

No TLS library is used: those that run these tests refuse half of what is tested here.
"""

from __future__ import annotations

import asyncio
import os
import struct
from typing import NamedTuple

VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
SUITES = {
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "AES128-GCM-SHA256": 0x009C,
    "AES256-GCM-SHA384": 0x009D,
    "ECDHE-ECDSA-AES128-SHA256": 0xC023,
    "ECDHE-RSA-AES128-SHA256": 0xC027,
    "AES128-SHA256": 0x003C,
    "AES256-SHA256": 0x003D,
    "ECDHE-RSA-AES256-SHA384": 0xC028,
    "ECDHE-ECDSA-AES256-SHA384": 0xC024,
    "ECDHE-ECDSA-AES128-SHA": 0xC009,
    "ECDHE-RSA-AES128-SHA": 0xC013,
    "ECDHE-RSA-AES256-SHA": 0xC014,
    "ECDHE-ECDSA-AES256-SHA": 0xC00A,
    "AES128-SHA": 0x002F,
    "AES256-SHA": 0x0035,
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "TLS_AES_128_CCM_SHA256": 0x1304,
    "TLS_AES_128_CCM_8_SHA256": 0x1305,
    # in no policy of the vendor's
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
    "DES-CBC3-SHA": 0x000A,
}
_HANDSHAKE, _ALERT, _SERVER_HELLO = 0x16, 0x15, 2
_SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0203, 0x0201)
_X25519, _P256 = 0x001D, 0x0017


class Choice(NamedTuple):
    """What the server answered: version and suite, or the alert by which it refused."""

    version: int = 0
    suite: int = 0
    alert: int = -1


async def choice(port: int, name: str, version: str, suite: str) -> Choice:
    """The server's answer to a client that knows `version` and `suite` and nothing else."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_hello(name, VERSIONS[version], SUITES[suite]))
        kind, _, length = struct.unpack("!BHH", await asyncio.wait_for(reader.readexactly(5), 10))
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return Choice()  # hung up without a word
    finally:
        writer.close()
    if kind == _ALERT:
        return Choice(alert=body[1])
    assert (kind, body[0]) == (_HANDSHAKE, _SERVER_HELLO)
    return _server_hello(body[4:])


def _hello(name: str, version: int, suite: int) -> bytes:
    newest = version == VERSIONS["TLSv1.3"]
    extensions = [
        (0, _list(b"\0" + _vector(name.encode(), 2), 2)),
        (10, _list(struct.pack("!HH", _X25519, _P256), 2)),
        (11, _list(b"\0", 1)),
        (13, _list(struct.pack(f"!{len(_SIGNATURES)}H", *_SIGNATURES), 2)),
        (0xFF01, b"\0"),
    ]
    if newest:
        share = struct.pack("!H", _X25519) + _vector(os.urandom(32), 2)
        extensions += [(43, _list(struct.pack("!H", version), 1)), (51, _list(share, 2))]
    body = struct.pack("!H", min(version, VERSIONS["TLSv1.2"])) + os.urandom(32) + _vector(os.urandom(32), 1)
    body += _vector(struct.pack("!H", suite), 2) + b"\1\0"
    body += _vector(b"".join(struct.pack("!H", kind) + _vector(data, 2) for kind, data in extensions), 2)
    handshake = b"\1" + len(body).to_bytes(3, "big") + body
    return struct.pack("!BH", _HANDSHAKE, 0x0301) + _vector(handshake, 2)


def _server_hello(body: bytes) -> Choice:
    version = int.from_bytes(body[:2], "big")
    at = 2 + 32
    at += 1 + body[at]
    suite = int.from_bytes(body[at : at + 2], "big")
    at += 3
    rest = body[at + 2 :] if len(body) > at else b""
    while rest:
        kind, length = struct.unpack("!HH", rest[:4])
        if kind == 43:
            version = int.from_bytes(rest[4:6], "big")
        rest = rest[4 + length :]
    return Choice(version, suite)


def _vector(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data


_list = _vector
