"""``certferry.yaml`` in the state directory, by which command line and console find this system.

Paths in it are relative, except for that of an existing cluster's kubeconfig, so that a state directory can be moved. It holds no credential.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from certferry.runtime import private_files
from certferry.up.programs import CLUSTER
from certferry.up.state_directory import StateDirectory

_HEAD = "# Written by `certferry up` at each start. Your own settings belong into a file for --config.\n"


def write(directory: StateDirectory, elb_url: str, loadbalancer_id: str) -> None:
    """Write the file. `loadbalancer_id`: of the default one. Raises OSError."""
    elb = {"url": elb_url, "credentials_file": directory.admin_credentials.name}
    roles = {
        "reader": {"kubeconfig": _path(directory, directory.view_kubeconfig)},
        "member": {"kubeconfig": _path(directory, directory.edit_kubeconfig)},
        "admin": {"kubeconfig": _path(directory, directory.kubeconfig)},
    }
    cluster = {
        "name": CLUSTER,
        "kubeconfig": _path(directory, directory.kubeconfig),
        "elb": elb,
        "default_loadbalancer": loadbalancer_id or None,
        "roles": roles,
    }
    private_files.write(directory.settings, _HEAD + yaml.safe_dump({"clusters": [cluster]}, sort_keys=False))


def _path(directory: StateDirectory, path: Path) -> str:
    return path.name if path.parent == directory.root else str(path)
