"""Process id of the ELB's Envoy, from the record that the ELB writes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from certferry.elb.server.dataplane.envoy.process import ProcessIdentity


class _Record(msgspec.Struct):
    process: ProcessIdentity


def envoy_pid(file: Path) -> int:
    """Return the living process in the record `file`; 0 if there is none."""
    try:
        envoy = msgspec.json.decode(file.read_bytes(), type=_Record).process
    except (OSError, msgspec.DecodeError):
        return 0
    return envoy.pid if envoy.alive() else 0
