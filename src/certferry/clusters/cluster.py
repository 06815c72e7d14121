"""Access to one cluster: clients of its Kubernetes API and of its ELB.

Files are read when a client is made, so that a cluster without its kubeconfig affects no other.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

import msgspec

from certferry.core.x509.expiry import Limits
from certferry.elb.client import clouds_yaml as clouds
from certferry.elb.client.client import ElbClient
from certferry.elb.client.credentials import Credentials
from certferry.kube.client import kubeconfig
from certferry.kube.client.client import KubeClient
from certferry.settings import ClusterSettings, ControllerSettings, ElbPlace, RoleAccess, UserError

Role = Literal["reader", "member", "admin"]


class ClusterAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Access to a cluster and its ELB."""

    name: str
    kubeconfig: Path | None = None
    """None: the service account of the Pod that we run in."""
    context: str | None = None
    elb_place: ElbPlace = ElbPlace()
    class_name: str = ""
    default_loadbalancer: str | None = None
    controller: ControllerSettings = ControllerSettings()
    """The section ``controller`` of the settings file."""
    limits: Limits = Limits()
    """When a renewal is late, from the section ``alerts`` of the settings file."""
    roles: dict[Role, RoleAccess] = {}
    """Credentials by role. Empty: all roles use the cluster's own credential."""

    def kube(self, role: Role | None = None, impersonate: str | None = None, *, short: bool = False) -> KubeClient:
        """Return a client (an asynchronous context manager) with the credential of `role`.

        `impersonate`: the user for whom it acts; sent to the API if the role's settings say so. `short`: for a few requests.
        Raises ``UserError`` for a role without access here, and ``KubeconfigError``.
        """
        entry = self._entry(role)
        file, context = self.kubeconfig, self.context
        if entry.kubeconfig:
            file, context = entry.kubeconfig, entry.context
        elif entry.context:
            context = entry.context
        access = kubeconfig.load(file, context) if file else kubeconfig.in_cluster()
        return KubeClient(access, impersonate if entry.impersonate else None, short=short)

    def elb(self, credentials: Credentials | None = None, *, short: bool = False) -> ElbClient:
        """Return a client (an asynchronous context manager) as the settings say, or with other `credentials`.

        `short`: for a few requests.

        Raises ``CredentialsError`` and ``UserError``.
        """
        found = clouds.site(self.elb_place) if credentials else clouds.find(self.elb_place)
        tls = _trust(found.ca) if found.ca else None
        return ElbClient(found.url, credentials or found.credentials, tls, short=short)

    def _entry(self, role: Role | None) -> RoleAccess:
        if role is None or not self.roles:
            return RoleAccess()
        if role not in self.roles:
            raise UserError(f"The settings of cluster “{self.name}” give role “{role}” no access.")
        return self.roles[role]


def access(settings: ClusterSettings, controller: ControllerSettings, limits: Limits) -> ClusterAccess:
    """Return the access of an entry of the settings file, whose section ``controller`` is `controller`."""
    return ClusterAccess(
        name=settings.name,
        kubeconfig=settings.kubeconfig,
        context=settings.context,
        elb_place=settings.elb,
        class_name=settings.class_name or controller.class_name,
        default_loadbalancer=settings.default_loadbalancer,
        controller=controller,
        limits=limits,
        roles=settings.roles,
    )


def _trust(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"The authority in {ca} cannot be read: {error.strerror or 'not PEM'}.") from None
