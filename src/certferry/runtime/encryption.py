"""Secrets at rest: AES-256-GCM under a key that lives in a file, or comes from the environment.

The ELB's store and the embedded Kubernetes API call this. It knows neither what it seals nor where
that is kept. What is sealed is bound to a purpose (which table, which row): a blob that is moved to
another row does not open. The envelope names its key, so that keys can be rotated: the file holds
one key a line, the first one seals, every one opens. A running program notices when the file changes,
so that a key is rotated beside it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certferry.runtime import private_files

VARIABLE: Final = "CERTFERRY_SEAL_KEY"
_MAGIC: Final = b"CF1"
_ID, _NONCE, _KEY = 8, 12, 32


class EncryptionError(Exception):
    """A sealing key that cannot be used, or a blob that it does not open; the text is for people."""


class EncryptionKeys:
    """Seals under the first of `keys`, opens under any of them (32 bytes each); `path` is where they are from."""

    def __init__(self, keys: Sequence[bytes], path: Path | None = None) -> None:
        self._path = path
        self._loaded_stamp = _stamp(path)
        self._use(keys)

    def _use(self, keys: Sequence[bytes]) -> None:
        assert keys
        assert all(len(key) == _KEY for key in keys)
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._current = _key_id(keys[0])

    @property
    def current(self) -> str:
        """The id of the key that seals, hex. Ids tell keys apart and nothing of what they are."""
        return self._current.hex()

    @classmethod
    def open_or_create(cls, path: Path, environ: Mapping[str, str] = os.environ) -> EncryptionKeys:
        """The seal of `environ`, else of the file at `path`, which is made (0600) if there is none.

        Raises ``SealError`` when the key cannot be read or is no key.
        """
        if text := environ.get(VARIABLE):
            return cls(_keys(text, f"The environment variable {VARIABLE}"))
        try:
            private_files.create(path, _new_key())
            return cls.of_file(path)
        except (OSError, UnicodeDecodeError) as error:
            raise EncryptionError(f"The sealing key file {path} cannot be read or made: {error}.") from None

    @classmethod
    def of_file(cls, path: Path) -> EncryptionKeys:
        """The seal of the file at `path`. Raises OSError, ``SealError``."""
        return cls(_keys(path.read_text(), f"The sealing key file {path}"), path)

    def encrypt(self, data: bytes, purpose: str) -> bytes:
        """`data`, encrypted for `purpose` (for example ``certificate:<id>:<version>``).

        Call it in the transaction that stores the result: then a rotation, which locks the store too, comes
        before it (and its key is used) or after it (and seals it anew).
        """
        self._reload()
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._current].encrypt(nonce, data, purpose.encode())
        return _MAGIC + self._current + nonce + sealed

    def decrypt(self, blob: bytes, purpose: str) -> bytes:
        """What was sealed for `purpose`; raises ``SealError``."""
        head = len(_MAGIC)
        if blob[head : head + _ID] not in self._ciphers:
            self._reload()
        cipher = self._ciphers.get(blob[head : head + _ID])
        if not blob.startswith(_MAGIC) or cipher is None:
            raise EncryptionError(
                "Stored secrets were sealed with another key: put the key file that belongs to this "
                f"store back, or set {VARIABLE} to its key."
            )
        nonce, sealed = blob[head + _ID : head + _ID + _NONCE], blob[head + _ID + _NONCE :]
        try:
            return cipher.decrypt(nonce, sealed, purpose.encode())
        except InvalidTag:
            raise EncryptionError(f"A stored secret ({purpose}) was changed after it was sealed.") from None

    def _reload(self) -> None:
        """Takes over what another process wrote to the file; while it cannot be read, all stays."""
        stamp = _stamp(self._path)
        if self._path is None or stamp is None or stamp == self._loaded_stamp:
            return
        try:
            self._use(_keys(self._path.read_text(), ""))
        except (OSError, UnicodeDecodeError, EncryptionError):
            return
        self._loaded_stamp = stamp

    def __repr__(self) -> str:
        return f"Seal(key {self._current.hex()})"


def key_id_of(blob: bytes) -> str:
    """The id of the key under which `blob` was sealed, hex; see ``Seal.current``."""
    return blob[len(_MAGIC) : len(_MAGIC) + _ID].hex()


def add_key(path: Path) -> None:
    """Puts a new key before those in the file at `path`: from now on it seals, and all of them open."""
    private_files.write(path, _new_key() + path.read_text())


def copy_keys(source: Path, target: Path) -> None:
    """The keys in the file at `source` in a file at `target` too. Raises OSError, ``SealError``."""
    text = source.read_text()
    _keys(text, f"The sealing key file {source}")
    private_files.write(target, text)


def keep_first_key(path: Path) -> None:
    """Forgets all keys in the file at `path` but the first."""
    private_files.write(path, path.read_text().split()[0] + "\n")


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"certferry key id" + key).digest()[:_ID]


def _keys(text: str, where: str) -> list[bytes]:
    try:
        keys = [base64.b64decode(line, validate=True) for line in text.split()]
    except binascii.Error:
        keys = []
    if not keys or any(len(key) != _KEY for key in keys):
        raise EncryptionError(
            f"{where} holds no key: 32 bytes in base64 are expected (openssl rand -base64 32)."
        )
    return keys


def _new_key() -> str:
    return base64.b64encode(os.urandom(_KEY)).decode() + "\n"
