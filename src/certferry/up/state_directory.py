"""The state directory: its lock and its files.

One instance at a time: the kernel frees the lock when its holder dies. Mode 0700.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from certferry.settings import UserError


class StateDirectory:
    """An open state directory; the lock is held until this process ends."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root, self._lock = root, lock
        self.saved_state = root / "up.json"
        self.endpoints = root / "endpoints.json"
        self.envoy = root / "envoy.json"
        self.kubeconfig = root / "kubeconfig"
        self.controller_kubeconfig = root / "kubeconfig-controller"
        self.edit_kubeconfig = root / "kubeconfig-edit"
        self.view_kubeconfig = root / "kubeconfig-view"
        self.elb_accounts = root / "elb-credentials.json"
        self.controller_credentials = root / "elb-controller.json"
        self.admin_credentials = root / "elb-admin.json"
        self.settings = root / "certferry.yaml"
        self.demo = root / "demo"
        self.stores = (root / "elb.db", root / "kube" / "store.db")
        self.logs = root / "logs"

    def use_cluster(self, kubeconfig: Path) -> None:
        """Use an existing cluster with this kubeconfig for every role."""
        self.kubeconfig = self.controller_kubeconfig = self.edit_kubeconfig = self.view_kubeconfig = kubeconfig


def open_state_directory(root: Path) -> StateDirectory:
    """Create `root` if absent, and lock it. Raises UserError."""
    root = root.expanduser().absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        lock = os.open(root / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        (root / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The state directory {root} cannot be written ({error.strerror}): "
            "make it writable, or name another one with --state."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip()
        raise UserError(
            f"Certferry already runs on {root}{f' (process {holder})' if holder else ''}: "
            "use that one, end it with Ctrl-C, or start a second one with another --state."
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return StateDirectory(root, lock)
