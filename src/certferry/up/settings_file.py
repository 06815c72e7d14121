"""``certferry.yaml`` in the state directory, by which command line and console find this system.

Paths in it are relative, so that a state directory can be moved. It holds no credential.
"""

from __future__ import annotations

import yaml

from certferry.runtime import private_files
from certferry.up.programs import CLUSTER
from certferry.up.state_directory import StateDirectory

_HEAD = "# Written by `certferry up` at each start. Your own settings belong into a file for --config.\n"


def write(directory: StateDirectory, elb_url: str, loadbalancer_id: str) -> None:
    """Write the file. `loadbalancer_id`: of the default one. Raises OSError."""
    elb = {"url": elb_url, "credentials_file": directory.admin_credentials.name}
    roles = {
        "reader": {"kubeconfig": directory.view_kubeconfig.name},
        "member": {"kubeconfig": directory.edit_kubeconfig.name},
        "admin": {"kubeconfig": directory.kubeconfig.name},
    }
    cluster = {
        "name": CLUSTER,
        "kubeconfig": directory.kubeconfig.name,
        "elb": elb,
        "default_loadbalancer": loadbalancer_id or None,
        "roles": roles,
    }
    private_files.write(directory.settings, _HEAD + yaml.safe_dump({"clusters": [cluster]}, sort_keys=False))
