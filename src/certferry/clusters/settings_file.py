"""Location of the settings file, and the clusters that it names.

``--config`` and CERTFERRY_CONFIG come first, then the user's own file, then the one that
`certferry up` writes into its state directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from certferry.clusters.cluster import ClusterAccess, access
from certferry.core.x509.expiry import Limits
from certferry.settings import AlertSettings, ControllerSettings, ElbPlace, UserError, clusters, state_default
from certferry.settings import read as read_section

NAME = "certferry.yaml"


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All clusters, in the order of the file."""

    clusters: tuple[ClusterAccess, ...]
    file: Path

    def cluster(self, name: str | None = None) -> ClusterAccess:
        """Return the cluster called `name`; without a name the only one. Raises UserError."""
        named = ", ".join(f"“{c.name}”" for c in self.clusters)
        if name is None or not name:
            if len(self.clusters) == 1:
                return self.clusters[0]
            raise UserError(f"{self.file} has several clusters: choose one of {named} with --cluster.")
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise UserError(f"{self.file} has no cluster “{name}”, but {named}.")


def read(config: Path | None = None, state: Path | None = None) -> Fleet:
    """Return the clusters of the settings file. `state`: a directory that the user named, whose own file is used
    if the named file has settings of programs alone. Raises UserError.
    """
    file = locate(config, state, os.environ)
    if file is None:
        raise UserError(
            "No settings file names a cluster: start `certferry up`, or name a file with --config "
            "that has “clusters” (docs/clusters.md)."
        )
    named, controller = clusters(file), read_section(ControllerSettings, "controller", {}, os.environ, file)
    if not named and state is not None and (own := state.expanduser() / NAME).is_file():
        file, named = own, clusters(own)
    limits = expiry_limits(read_section(AlertSettings, "alerts", {}, os.environ, file))
    accesses = tuple(access(settings, controller, limits) for settings in named)
    if not accesses:
        raise UserError(f"The settings file {file} names no cluster: add “clusters” (docs/clusters.md).")
    return Fleet(clusters=accesses, file=file)


def one(settings: ControllerSettings, config: Path | None) -> ClusterAccess:
    """Return the cluster of a controller: as its own settings say, else an entry of the file.

    Raises UserError.
    """
    if not settings.elb_url and not settings.elb_credentials:
        return read(config).cluster(settings.cluster)
    place = ElbPlace(
        url=settings.elb_url,
        credentials_file=Path(settings.elb_credentials) if settings.elb_credentials else None,
        ca=Path(settings.elb_ca) if settings.elb_ca else None,
    )
    return ClusterAccess(
        name=settings.cluster_name or settings.cluster,
        kubeconfig=Path(settings.kubeconfig) if settings.kubeconfig else None,
        context=settings.context,
        elb_place=place,
        controller=settings,
    )


def expiry_limits(settings: AlertSettings) -> Limits:
    """Return when a renewal is late, urgent and critical."""
    return Limits(
        late=settings.renewal_late,
        urgent=settings.renewal_urgent,
        critical=settings.renewal_critical,
        late_days=settings.renewal_late_days,
        urgent_days=settings.renewal_urgent_days,
        critical_days=settings.renewal_critical_days,
    )


def locate(config: Path | None, state: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the settings file, None if there is none. A file that the user named must exist."""
    if config or environ.get("CERTFERRY_CONFIG"):
        return (config or Path(environ["CERTFERRY_CONFIG"])).expanduser()
    return next((file for file in _places(state, environ) if file.is_file()), None)


def _places(state: Path | None, environ: Mapping[str, str]) -> Iterable[Path]:
    if state is not None:  # who names a directory means that one
        yield state.expanduser() / NAME
    yield Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "certferry" / NAME
    yield state_default(environ) / NAME
