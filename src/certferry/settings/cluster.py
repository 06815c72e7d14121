"""The section ``clusters`` of the settings file: clusters, their ELBs, and the console's credentials per role."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class ElbPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address of an ELB and our credentials there: an entry of clouds.yaml, or these fields."""

    cloud: str = ""
    """Name in clouds.yaml; the other fields take precedence over its entry."""
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
    """CA file of the ELB's certificate; without it the system's CAs."""


class RoleAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The console's credential in a cluster for users of one role."""

    kubeconfig: Path | None = None
    """Kubeconfig file; without it the cluster's own credential."""
    context: str | None = None
    impersonate: bool = False
    """Pass the user to the API (Impersonate-User)."""


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of ``clusters``: a cluster and its ELB, for controller, console and command line."""

    name: str
    kubeconfig: Path | None = None
    """Kubeconfig file; without it the service account of the Pod."""
    context: str | None = None
    elb: ElbPlace = ElbPlace()
    class_name: str = ""
    """Ingress class of its controller; without it ``controller.class_name``."""
    default_loadbalancer: str | None = None
    """The setting of its controller, for console and command line."""
    roles: dict[Literal["reader", "member", "admin"], RoleAccess] = {}
