"""The files of version 0.1 that held the register of remote Envoys and their CA: they are moved into the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy import Engine, select

from certferry.elb.server.dataplane.remote import ca, registry
from certferry.elb.server.dataplane.remote.registry import RemoteEnvoy
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import StoreUnusable
from certferry.runtime.encryption import EncryptionKeys
from certferry.runtime.private_ca import PrivateCa

_log = structlog.get_logger("certferry.elb")
_CERTIFICATE: Final = "envoys-ca.crt"
_KEY: Final = "envoys-ca.key"
_REGISTER: Final = "envoys.json"


def move_files(state: Path, engine: Engine, encryption: EncryptionKeys) -> None:
    """Move the files in the directory `state` into the store. Raises OSError, StoreUnusable."""
    paths = [path for name in (_CERTIFICATE, _KEY, _REGISTER) if (path := state / name).exists()]
    if not paths:
        return
    take_over(engine, encryption, {path.name: path.read_bytes() for path in paths})
    for path in paths:
        path.unlink()
    _log.info("moved into the store", files=[path.name for path in paths])


def take_over(engine: Engine, encryption: EncryptionKeys, files: Mapping[str, bytes]) -> None:
    """Store the content of the files, by name, unless the store has a CA. Raises StoreUnusable if one is damaged."""
    if not {_CERTIFICATE, _KEY} <= files.keys():
        return
    try:
        authority = PrivateCa.of_pem(files[_CERTIFICATE], files[_KEY])
        envoys = msgspec.json.decode(files.get(_REGISTER, b"[]"), type=list[RemoteEnvoy])
    except (ValueError, msgspec.MsgspecError) as error:
        raise StoreUnusable(f"The files {_CERTIFICATE}, {_KEY} or {_REGISTER} are damaged: {error}") from None
    with engine.begin() as connection:
        if connection.execute(select(schema.envoy_authority)).first() is None:
            ca.keep(connection, encryption, authority)
            for envoy in envoys:
                registry.keep(connection, envoy)
