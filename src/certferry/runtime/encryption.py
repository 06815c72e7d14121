"""Encryption at rest: AES-256-GCM with a key from a file or the environment.

Each blob is bound to a purpose (table and row), so that it does not decrypt in another row. It names its key, which
allows rotation: the key file has one key a line, the first encrypts, all decrypt. A running program notices
a changed key file, so that keys can be rotated while it runs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certferry.runtime import private_files

VARIABLE: Final = "CERTFERRY_SEAL_KEY"
_MAGIC: Final = b"CF1"
_ID, _NONCE, _KEY = 8, 12, 32
_COMMAND_SECONDS: Final = 30


class EncryptionError(Exception):
    """An unusable key, or a blob that no key decrypts; the message is for users."""


class EncryptionKeys:
    """Encrypts with the first of `keys` (32 bytes each) and decrypts with any; `path` is their file."""

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
        """Return the id (hex) of the key that encrypts. Ids reveal nothing about keys."""
        return self._current.hex()

    def ids(self) -> tuple[str, ...]:
        """Return the ids (hex) of all keys, the one that encrypts first."""
        self._reload()
        return tuple(key.hex() for key in self._ciphers)

    @classmethod
    def of_command(cls, command: Sequence[str]) -> EncryptionKeys:
        """Return the keys that `command` prints in the form of a key file. Raises ``EncryptionError``."""
        name = f"The command {command[0]} (elb.encryption_key_command)"
        try:
            done = subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            why = getattr(error, "strerror", None) or f"it did not end within {_COMMAND_SECONDS} s"
            raise EncryptionError(f"{name} gave no key: {why}.") from None
        if done.returncode:
            raise EncryptionError(f"{name} gave no key: it ended with code {done.returncode}.")
        return cls(_keys(done.stdout.decode(errors="replace"), name))

    @classmethod
    def open_or_create(cls, path: Path, environ: Mapping[str, str] = os.environ) -> EncryptionKeys:
        """Return the keys in `environ`, else those in the file at `path`, created with mode 0600 if absent.

        Raises ``EncryptionError`` if the key is unreadable or malformed.
        """
        if text := environ.get(VARIABLE):
            return cls(_keys(text, f"The environment variable {VARIABLE}"))
        try:
            private_files.create(path, _new_key())
            return cls.of_file(path)
        except (OSError, UnicodeDecodeError) as error:
            raise EncryptionError(f"The encryption key file {path} cannot be read or created: {error}.") from None

    @classmethod
    def of_file(cls, path: Path) -> EncryptionKeys:
        """Read the keys of the file at `path`. Raises OSError, ``EncryptionError``."""
        return cls(_keys(path.read_text(), f"The encryption key file {path}"), path)

    def encrypt(self, data: bytes, purpose: str) -> bytes:
        """Encrypt `data` for `purpose` (for example ``certificate:<id>:<version>``).

        Call it in the transaction that stores the result. A rotation locks the store too. It
        happens either before, so that the new key is used, or after, and encrypts the blob again.
        """
        self._reload()
        nonce = os.urandom(_NONCE)
        ciphertext = self._ciphers[self._current].encrypt(nonce, data, purpose.encode())
        return _MAGIC + self._current + nonce + ciphertext

    def decrypt(self, blob: bytes, purpose: str) -> bytes:
        """Decrypt a blob that was encrypted for `purpose`. Raises ``EncryptionError``."""
        head = len(_MAGIC)
        if blob[head : head + _ID] not in self._ciphers:
            self._reload()
        cipher = self._ciphers.get(blob[head : head + _ID])
        if not blob.startswith(_MAGIC) or cipher is None:
            raise EncryptionError(
                "Stored secrets were encrypted with another key: restore the key file of this "
                f"store, or set {VARIABLE} to its key."
            )
        nonce, ciphertext = blob[head + _ID : head + _ID + _NONCE], blob[head + _ID + _NONCE :]
        try:
            return cipher.decrypt(nonce, ciphertext, purpose.encode())
        except InvalidTag:
            raise EncryptionError(f"A stored secret ({purpose}) was changed after it was encrypted.") from None

    def _reload(self) -> None:
        """Read the key file again if another process changed it; ignore an unreadable file."""
        stamp = _stamp(self._path)
        if self._path is None or stamp is None or stamp == self._loaded_stamp:
            return
        try:
            self._use(_keys(self._path.read_text(), ""))
        except (OSError, UnicodeDecodeError, EncryptionError):
            return
        self._loaded_stamp = stamp

    def __repr__(self) -> str:
        return f"EncryptionKeys({self._current.hex()})"


def key_id_of(blob: bytes) -> str:
    """Return the id (hex) of the key that encrypted `blob`; see ``EncryptionKeys.current``."""
    return blob[len(_MAGIC) : len(_MAGIC) + _ID].hex()


def add_key(path: Path) -> None:
    """Add a new first key to the file at `path`; the others still decrypt."""
    private_files.write(path, _new_key() + path.read_text())


def add_last_key(path: Path) -> None:
    """Add a new key to the file at `path` that only decrypts."""
    private_files.write(path, path.read_text().rstrip() + "\n" + _new_key())


def move_last_key_first(path: Path) -> None:
    """Let the last key of the file at `path` encrypt."""
    *others, last = path.read_text().split()
    private_files.write(path, "\n".join([last, *others]) + "\n")


def copy_keys(source: Path, target: Path) -> None:
    """Copy the key file `source` to `target` after a check. Raises OSError, ``EncryptionError``."""
    text = source.read_text()
    _keys(text, f"The encryption key file {source}")
    private_files.write(target, text)


def keep_first_key(path: Path) -> None:
    """Remove all keys but the first from the file at `path`."""
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
        raise EncryptionError(f"{where} holds no key: 32 bytes in base64 are expected (openssl rand -base64 32).")
    return keys


def _new_key() -> str:
    return base64.b64encode(os.urandom(_KEY)).decode() + "\n"
