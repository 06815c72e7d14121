"""What each program is told at start: flags before environment before file.

Read once; handed down as frozen values.
"""

from __future__ import annotations

import msgspec


class ControllerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``certferry controller``. Times in seconds."""

    elb_url: str
    """Origin of the ELB API."""
    elb_credentials: str
    """Path of a JSON file, mode 0600: project_id, and an access key or a user with a password."""
    elb_ca: str | None = None
    """Path of the authority that the ELB's certificate comes from; None: the system's."""
    kubeconfig: str | None = None
    """None: the service account of the Pod."""
    context: str | None = None
    listen_host: str = "127.0.0.1"
    listen_port: int = 9180
    """/metrics, /healthz, /readyz; 0 lets the system choose."""
    cluster_name: str = ""
    class_name: str = "cce"
    default_loadbalancer: str | None = None
    resync: float = 60.0
    hold_off: float = 0.02
    """Quiet time after a change before a reconcile."""
    ceiling: float = 0.25
    """Longest time that changes may go on before a reconcile."""
    probe_deadline: float = 10.0
    """How long a changed certificate may take until a client sees it."""
