"""Settings: one frozen struct per program, read once.

``read`` takes a value from a flag, the environment (``CERTFERRY_<PROGRAM>_<FIELD>``), the program's
section in a YAML or JSON file, or the default, in this order. Several programs share the section ``clusters``.
"""

from __future__ import annotations

from certferry.settings.cluster import ClusterSettings, ElbPlace, RoleAccess
from certferry.settings.controller import AlertSettings, ControllerSettings
from certferry.settings.defaults import host_port, networks, state_default
from certferry.settings.elb import ElbLimits, ElbSettings, EnvoyOptions, RemoteEnvoys
from certferry.settings.errors import EXIT_NEWER_STATE, EXIT_UNUSABLE, UserError
from certferry.settings.loader import clusters, read
from certferry.settings.programs import ConsoleSettings, KubeServerSettings, UpSettings

__all__ = [
    "EXIT_NEWER_STATE",
    "EXIT_UNUSABLE",
    "AlertSettings",
    "ClusterSettings",
    "ConsoleSettings",
    "ControllerSettings",
    "ElbLimits",
    "ElbPlace",
    "ElbSettings",
    "EnvoyOptions",
    "KubeServerSettings",
    "RemoteEnvoys",
    "RoleAccess",
    "UpSettings",
    "UserError",
    "clusters",
    "host_port",
    "networks",
    "read",
    "state_default",
]
