"""Settings: one frozen struct per program, read once.

The CLI calls ``read``; everything else is handed the result. A value comes from a flag, else from
the environment (``CERTFERRY_<PROGRAM>_<FIELD>``), else from the program's section in a YAML or JSON
file, else it is the default. Beside the sections the file has ``clusters``, which several programs
share: ``fleet`` reads it. It knows no program's meaning of its settings.
"""

from __future__ import annotations

from certferry.settings.cluster import ClusterSettings, ElbPlace, RoleAccess
from certferry.settings.controller import AlertSettings, ControllerSettings
from certferry.settings.defaults import host_port, state_default
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
    "read",
    "state_default",
]
