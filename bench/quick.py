"""CPU time of fixed work at HEAD and at an earlier commit, interleaved: a guard against slower code.

Run as ``python -m bench.quick [BASE]``; `make bench-quick` does, and CI. BASE is by default the merge base with the
main branch, or the parent of HEAD where both are the same. A commit with another copy of this file is not compared.
It fails if a work takes 15 % more CPU time than at BASE; the least of several runs counts, because noise only adds.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
RUNS: Final = 4
ROUNDS: Final = 3
"""Rounds of runs until a work counts as slower."""
TOLERANCE: Final = 1.15
_COMMANDS: Final = (["version"], ["--help"], ["cert", "ls", "--help"], ["why", "--help"])


_began = 0.0
"""CPU seconds before the measured part of a work."""


def begin() -> None:
    """Measure from here on: preparations would hide a slower work."""
    global _began
    _began = _cpu()


def reconcile() -> None:
    """Diagnose and plan for 300 Ingresses on six ports: from nothing, and ten times in step."""
    from certferry.core.decide import decide
    from certferry.core.diagnosis.cluster import diagnose
    from certferry.core.drift.drift import Modes
    from certferry.core.model.elb import State
    from certferry.core.model.kubernetes import ClusterView
    from certferry.core.translate.listener_claims import TranslateOptions
    from certferry.core.translate.manifests import overlaid
    from certferry.core.x509.expiry import Limits
    from tests.core.support.fixtures import BALANCER, CLUSTER, Elb
    from tests.e2e.support import objects
    from tests.support.certs import authority

    items = [objects.service("quick", "web"), objects.endpoints("quick", "web", 9)]
    for number in range(300):
        host, secret = f"h{number}.quick.example", f"tls-{number}"
        entry = [{"hosts": [host], "secretName": secret}]
        port = {"kubernetes.io/elb.port": str(8001 + number // 50)}
        items.append(objects.pair_secret("quick", secret, authority().issue(host)))
        items.append(objects.ingress("quick", f"i{number}", "web", [host], entry, port))
    for number, item in enumerate(items):
        item["metadata"] |= {"uid": f"uid-{number}", "namespace": "quick"}
    view, now = overlaid(ClusterView(cluster_id=CLUSTER), items), datetime.now(UTC)
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    chains = [secret.chain for secret in view.secrets.values() if secret.chain]
    elb = Elb(State(loadbalancers={BALANCER.id: BALANCER}), chains)
    begin()
    for _ in range(12):
        translation = diagnose(view, elb.state, options, now, Limits()).translation
        elb.run(decide(translation, elb.state, CLUSTER, Modes()).steps)
    assert len(elb.state.listeners) == 6
    assert sum(len(listener.sni_container_refs or ()) for listener in elb.state.listeners.values()) >= 290


def put() -> None:
    """Replace the content of a certificate 300 times in a store with 100 certificates."""
    from tests.elb.support.server import serving, settings_in
    from tests.support.certs import authority

    place = Path(tempfile.mkdtemp(prefix="cfq-"))
    try:
        with serving(settings_in(place)) as elb:
            pairs = [authority().issue("quick.example") for _ in range(4)]
            contents = [{"certificate": pair.certificate, "private_key": pair.key} for pair in pairs]
            made = [elb.admin.make("certificate", **contents[0])["id"] for _ in range(100)]
            begin()
            for number in range(300):
                body = {"certificate": contents[number % len(contents)]}
                assert elb.admin("PUT", f"/certificates/{made[0]}", body).status == 200
    finally:
        shutil.rmtree(place, ignore_errors=True)


def commands() -> None:
    """Start the command line."""
    for arguments in _COMMANDS:
        subprocess.run([sys.executable, "-m", "certferry", *arguments], check=True, stdout=subprocess.DEVNULL)


def push() -> None:
    """Send 4,000 secrets to four Envoys, and renew them."""
    import asyncio

    from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

    from certferry.core.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, Snapshot, TlsSecret
    from certferry.core.x509.pem import parse_pair
    from certferry.elb.server.dataplane.xds.server import AdsServer
    from certferry.elb.server.dataplane.xds.stream import StreamSnapshot
    from certferry.elb.server.store.projection import Publication
    from certferry.runtime.latest import Latest
    from tests.support.certs import authority

    pairs = [parse_pair(*authority().issue(f"h{number}.example")) for number in range(20)]
    keys = {pair.chain.digest: pair.key for pair in pairs}
    names = [f"listener/h{number}/0" for number in range(4_000)]

    def snapshot(shift: int) -> StreamSnapshot:
        secrets = {
            name: TlsSecret(name=name, chain=pairs[(number + shift) % len(pairs)].chain)
            for number, name in enumerate(names)
        }
        return StreamSnapshot(Snapshot({kind: {} for kind in (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)}, secrets), keys)

    async def run() -> None:
        ads, snapshots, last = AdsServer(Latest(Publication())), Latest(snapshot(0)), snapshot(1)
        renewed = {name: secret.version for name, secret in last.resources.secrets.items()}

        async def envoy(name: str) -> None:
            requests: asyncio.Queue[DeltaDiscoveryRequest] = asyncio.Queue()
            requests.put_nowait(DeltaDiscoveryRequest(type_url=SECRETS, resource_names_subscribe=names))

            async def asked() -> AsyncIterator[DeltaDiscoveryRequest]:
                while True:
                    yield await requests.get()

            have: dict[str, str] = {}
            async for response in ads.serve(name, snapshots, asked()):
                have |= {resource.name: resource.version for resource in response.resources}
                requests.put_nowait(DeltaDiscoveryRequest(type_url=SECRETS, response_nonce=response.nonce))
                if have == renewed:
                    return
                if name == "0" and len(have) == len(names):
                    snapshots.set(last)

        await asyncio.gather(envoy("0"), *(envoy(str(number)) for number in range(1, 4)))

    begin()
    asyncio.run(run())


WORKS: Final[dict[str, Callable[[], None]]] = {"reconcile": reconcile, "put": put, "push": push, "commands": commands}


def main() -> None:
    """Compare HEAD with an earlier commit, or do one work and print its CPU seconds."""
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument("base", nargs="?", default="")
    parser.add_argument("--work", choices=WORKS)
    asked = parser.parse_args()
    if asked.work:
        begin()
        WORKS[asked.work]()
        print(f"{_cpu() - _began:.4f}")
        return
    base = _git("rev-parse", asked.base) if asked.base else _base()
    if not base:
        sys.exit(compare(None, ""))
    with tempfile.TemporaryDirectory(prefix="cfq-") as place:
        tree = Path(place) / "base"
        _git("worktree", "add", "--detach", str(tree), base)
        try:
            sys.exit(compare(tree, base))
        finally:
            _git("worktree", "remove", "--force", str(tree))


def compare(tree: Path | None, base: str) -> int:
    """Print the CPU times of each work in both trees; return 1 if one is slower than the tolerance allows."""
    worst = 0
    print(f"| work | {base[:8] or 'no earlier commit'} | now | ratio | |\n|---|---:|---:|---:|---|")
    for work in WORKS:
        if tree is None or not _same_works(tree):
            print(f"| {work} | – | {_seconds(ROOT, work):.2f} s | – | new |")
            continue
        before = now = math.inf
        for _ in range(ROUNDS):  # a busy machine can spoil one round
            pairs = [(_seconds(tree, work), _seconds(ROOT, work)) for _ in range(RUNS)]
            before, now = min(before, *(pair[0] for pair in pairs)), min(now, *(pair[1] for pair in pairs))
            if not (slower := now > before * TOLERANCE):
                break
        worst |= slower
        print(f"| {work} | {before:.2f} s | {now:.2f} s | {now / before:.2f} | {'**slower**' if slower else ''} |")
    return worst


def _seconds(tree: Path, work: str) -> float:
    path = os.pathsep.join((str(tree / "src"), str(tree)))
    command = [sys.executable, "-m", "bench.quick", "--work", work]
    done = subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench.quick: {work} failed in {tree}:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def _same_works(tree: Path) -> bool:
    """Return whether this file is the same in `tree`: times of different works cannot be compared."""
    there = tree / "bench" / "quick.py"
    return there.exists() and there.read_bytes() == Path(__file__).read_bytes()


def _cpu() -> float:
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usage)


def _base() -> str:
    """Return the commit to compare with; "" if this checkout has no earlier one."""
    head = _parsed("HEAD")
    for branch in ("origin/main", "main"):
        base = _parsed(branch) and _git("merge-base", "HEAD", branch)
        if base and base != head:
            return base
    return _parsed("HEAD^")


def _parsed(name: str) -> str:
    command = ["git", "rev-parse", "--verify", "--quiet", name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
