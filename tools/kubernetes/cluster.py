"""Run a real kube-apiserver and etcd on loopback for the end-to-end suite.

    python -m tools.kubernetes.cluster DIR     # until Ctrl-C; DIR/kubeconfig is an admin's

Both are ordinary Go modules, named with their versions in go.mod beside this file, and built once
into a cache directory (with go, some minutes and 5 GB of build cache). There is no kubelet, no scheduler and no
controller manager: the server validates and stores objects, and nothing runs. A Node with the address 127.0.0.1 replaces
the machines. Not part of `make test`; see docs/real-kubernetes.md.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import go_programs

HERE = Path(__file__).resolve().parent
APISERVER, ETCD = "k8s.io/kubernetes/cmd/kube-apiserver", "go.etcd.io/etcd/server/v3"
PATIENCE = 60.0
"""Seconds until the API must be ready."""


def built() -> Path:
    """Return the directory with both programs; build them if one is missing."""
    of = go_programs.versions(HERE, ("k8s.io/kubernetes", "go.etcd.io/etcd/server/v3"))
    kubernetes, etcd = of["k8s.io/kubernetes"], of["go.etcd.io/etcd/server/v3"]
    said = "k8s.io/component-base/version"
    major, minor = kubernetes.lstrip("v").split(".")[:2]
    marks = {"gitVersion": kubernetes, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(f"-X {said}.{k}={v}" for k, v in marks.items())
    programs = {"etcd": (ETCD, ""), "kube-apiserver": (APISERVER, flags)}
    return go_programs.built(HERE, go_programs.cache(f"kubernetes-{kubernetes}-etcd-{etcd}"), programs)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Run both programs with their state in `folder`; yield the admin's kubeconfig."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    programs, token = built(), secrets.token_urlsafe(24)
    client, peer, secure = _ports(3)
    shutil.rmtree(folder / "etcd", ignore_errors=True)
    etcd = [
        *(str(programs / "etcd"), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
        *(
            "--listen-client-urls",
            f"http://127.0.0.1:{client}",
            "--advertise-client-urls",
            f"http://127.0.0.1:{client}",
        ),
        *(
            "--listen-peer-urls",
            f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls",
            f"http://127.0.0.1:{peer}",
        ),
        *("--initial-cluster", f"default=http://127.0.0.1:{peer}"),
    ]
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    apiserver = [
        *(str(programs / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{client}"),
        *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={secure}"),
        *(f"--cert-dir={folder / 'tls'}", f"--token-auth-file={folder / 'tokens.csv'}"),
        *("--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"),
        # a Service of a test names the port that its backend really has
        "--service-node-port-range=1024-65535",
        # no controller manager makes the accounts that this would ask for
        "--disable-admission-plugins=ServiceAccount",
        *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}"),
        f"--service-account-signing-key-file={key}",
        # it watches for the address of another host, which loopback is not
        "--endpoint-reconciler-type=none",
    ]
    children = []
    try:
        for name, command in (("etcd", etcd), ("kube-apiserver", apiserver)):
            log = (folder / f"{name}.log").open("wb")
            children.append(subprocess.Popen(command, stdout=log, stderr=log))
        url = f"https://127.0.0.1:{secure}"
        _until_ready(url, children, folder)
        yield _kubeconfig(folder, url, token)
    finally:
        for child in reversed(children):  # the API first: without its etcd it would wait for ever
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _until_ready(url: str, children: list[subprocess.Popen[bytes]], folder: Path) -> None:
    trusting = ssl._create_unverified_context()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and all(child.poll() is None for child in children):
        with contextlib.suppress(OSError):
            if urllib.request.urlopen(f"{url}/readyz", context=trusting, timeout=2).status == 200:
                return
        time.sleep(0.2)
    sys.exit(f"The API is not ready: see {folder}/*.log.")


def _kubeconfig(folder: Path, url: str, token: str) -> Path:
    authority = base64.b64encode((folder / "tls" / "apiserver.crt").read_bytes()).decode()
    cluster = {"server": url, "certificate-authority-data": authority}
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "real",
        "clusters": [{"name": "real", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
    }
    file = folder / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(document, indent=1))
    return file


def _ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.kubernetes.cluster DIR")
    with running(Path(sys.argv[1]).absolute()) as kubeconfig:
        print(f"Ready: export CERTFERRY_TEST_KUBECONFIG={kubeconfig}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
