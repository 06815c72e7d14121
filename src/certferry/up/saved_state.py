"""Choices of the first start in ``up.json``: ports, addresses, the load balancer.

They never change, so that copied kubeconfigs and commands stay valid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from certferry.runtime import private_files
from certferry.settings import EXIT_NEWER_STATE, UserError

FORMAT: Final = 1


class SavedState(msgspec.Struct, frozen=True, kw_only=True):
    """Choices of the first start. Ports are on 127.0.0.1."""

    format: int = FORMAT
    kube_port: int
    elb_port: int
    metrics_port: int
    backend_port: int
    console_port: int = 0
    """0: not chosen yet."""
    subnet: str
    """Where load balancers get their addresses, like ``127.44.5.0/24``; 127.0.0.1/32: they share one."""
    privileged_shift: int
    """Added to ports under 1024 (443 → 8443); 0 where they can be bound."""
    loadbalancer_id: str = ""
    existing_cluster: bool = False
    """True if the Kubernetes API is not the embedded one."""


class _Format(msgspec.Struct):
    format: int = FORMAT


def load(file: Path) -> SavedState | None:
    """Read `file`; None if absent. Raises UserError."""
    try:
        text = file.read_bytes()
        if msgspec.json.decode(text, type=_Format).format > FORMAT:
            raise UserError(
                f"{file} was written by a newer Certferry than this one: start the newer one, "
                "or name another directory with --state.",
                EXIT_NEWER_STATE,
            )
        return msgspec.json.decode(text, type=SavedState)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError:
        raise UserError(
            f"{file} is damaged: restore it, or delete it and let `certferry up` choose new ports."
        ) from None


def save(file: Path, saved: SavedState) -> None:
    """Write `file`. Raises OSError."""
    private_files.write(file, msgspec.json.format(msgspec.json.encode(saved)).decode() + "\n")
