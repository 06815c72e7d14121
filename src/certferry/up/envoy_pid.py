"""Which Envoy runs, as the ELB noted it: `up` names its process, and kills it when asked twice.

It starts and ends nothing: that is the ELB's part.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from certferry.elb.server.dataplane.envoy.process import Identity


class _Record(msgspec.Struct):
    process: Identity


def envoy_pid(file: Path) -> int:
    """The living process that the ELB noted in `file`; 0 when there is none."""
    try:
        envoy = msgspec.json.decode(file.read_bytes(), type=_Record).process
    except (OSError, msgspec.DecodeError):
        return 0
    return envoy.pid if envoy.alive() else 0
