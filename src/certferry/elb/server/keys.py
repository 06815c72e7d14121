"""The encryption keys of an ELB: from the environment, a command or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from certferry.elb.server.paths import encryption_key_file
from certferry.runtime.encryption import VARIABLE, EncryptionError, EncryptionKeys
from certferry.settings import ElbSettings


def key_file(settings: ElbSettings) -> Path:
    """Return the path of the key file."""
    return (settings.encryption_key_file or encryption_key_file(settings.state)).expanduser().absolute()


def in_file(settings: ElbSettings, environ: Mapping[str, str]) -> bool:
    """Return whether the keys come from the file."""
    return not (environ.get(VARIABLE) or settings.encryption_key_command)


def encryption_keys(
    settings: ElbSettings, environ: Mapping[str, str] = os.environ, *, create: bool = False
) -> EncryptionKeys:
    """Return the keys; a missing file is an error, or made with a new key. Raises ``EncryptionError``.

    A file at another path than the usual one is never made: its owner provides it.
    """
    if settings.encryption_key_command and not environ.get(VARIABLE):
        return EncryptionKeys.of_command(settings.encryption_key_command)
    path = key_file(settings)
    if in_file(settings, environ) and not path.exists() and (settings.encryption_key_file or not create):
        raise EncryptionError(
            f"There is no encryption key: neither the file {path} nor {VARIABLE}. Give the key that belongs to this store."
        )
    return EncryptionKeys.open_or_create(path, environ)
