"""``clusters`` of the settings file: which clusters there are, their ELBs, and how people enter them.

Several programs share it; ``fleet`` makes connections of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class ElbPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an ELB is and who we are there: an entry of clouds.yaml, or said here."""

    cloud: str = ""
    """Name in clouds.yaml; what is said here beside it wins."""
    url: str = ""
    """Origin of the ELB API; empty: from the service catalog, after a login by password."""
    auth_url: str = ""
    """Origin of Keystone; empty: the same as `url`."""
    region: str = ""
    project: str = ""
    """Id or name; empty: as in the credentials file."""
    credentials_file: Path | None = None
    """JSON, mode 0600: an access key, or a user with a password."""
    ca: Path | None = None
    """Authority that the ELB's certificate comes from; None: the system's."""


class RoleAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the console enters a cluster for people of one role."""

    kubeconfig: Path | None = None
    """None: the cluster's own."""
    context: str | None = None
    impersonate: bool = False
    """Whether requests say which person they are for (Impersonate-User)."""


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of ``clusters``: a cluster and its ELB, for controller, console and command line."""

    name: str
    kubeconfig: Path | None = None
    """None: the service account of the Pod."""
    context: str | None = None
    elb: ElbPlace = ElbPlace()
    class_name: str = "cce"
    default_loadbalancer: str | None = None
    """What its controller uses for an Ingress that names none; the console shows it."""
    roles: dict[Literal["reader", "member", "admin"], RoleAccess] = {}
