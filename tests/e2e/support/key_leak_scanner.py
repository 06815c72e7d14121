"""Every encoded form of a private key, for searches in what must not contain it.

Only the part that holds the secret number counts: the rest of a key is the same in all keys, or public.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

SHORTEST = 16
"""Characters; shorter pieces would be found by chance."""
ROW = 64
FORMS = (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)


def needles(key_pem: str) -> set[bytes]:
    """The secret number of a key raw, in hex and decimal, in each PEM form, and in each as a Secret has it."""
    key = load_pem_private_key(key_pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    value = numbers.private_value if isinstance(numbers, ec.EllipticCurvePrivateNumbers) else numbers.d
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    found = {raw, raw.hex().encode(), str(value).encode()}
    for form in FORMS:
        pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
        der = key.private_bytes(Encoding.DER, form, NoEncryption())
        found |= set(_in_pem(pem, der.index(raw), len(raw)))
    return found


def find(haystack: bytes, wanted: Iterable[bytes]) -> bytes | None:
    """The first of `wanted` that `haystack` holds."""
    return next((needle for needle in wanted if needle in haystack), None)


def _in_pem(pem: bytes, at: int, length: int) -> Iterator[bytes]:
    """The characters of `pem` that encode `length` bytes from `at` of its content: by row, and in base64."""
    armour = pem.index(b"\n") + 1
    body = b"".join(row for row in pem.splitlines() if not row.startswith(b"-----"))
    first, last = _characters(at, at + length)
    for row in range(first // ROW, last // ROW + 1):
        piece = body[max(first, row * ROW) : min(last, (row + 1) * ROW)]
        if len(piece) >= SHORTEST:
            yield piece
    start, end = (armour + i + i // ROW for i in (first, last))
    encoded = _characters(start, end)
    yield base64.b64encode(pem)[slice(*encoded)]


def _characters(start: int, end: int) -> tuple[int, int]:
    """The base64 characters that depend on nothing but the bytes from `start` to `end`."""
    return -(-start * 8 // 6), end * 8 // 6
