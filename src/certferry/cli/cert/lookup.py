"""The clusters that a command works on, and which certificates an id, name, Secret or host means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer

from certferry.cli.cert.completion import certificates
from certferry.cli.options import chosen
from certferry.cli.output import PARTIAL, warn
from certferry.clusters import ClusterAccess, ClusterResult, Fleet, fan_out
from certferry.clusters.snapshot import ClusterSnapshot, take_snapshot
from certferry.core.checks import CheckPolicy
from certferry.core.diagnosis.host_state import HostProbe, HostState, for_host, host_states
from certferry.core.diagnosis.inventory import CertificateInfo
from certferry.core.model.kubernetes import Name
from certferry.core.translate.certificate_slots import KEY_KINDS, current_slots
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import covers
from certferry.settings import UserError

T = TypeVar("T")

Cluster = Annotated[str | None, typer.Option(help="Only this cluster of the settings file.")]
Reference = Annotated[
    str, typer.Argument(help="An id, a name, NAMESPACE/SECRET, or a host.", autocompletion=certificates)
]


class LocatedCertificate(NamedTuple):
    """One certificate, and the cluster and ELB where it is."""

    snapshot: ClusterSnapshot
    info: CertificateInfo

    @property
    def cluster(self) -> ClusterAccess:
        """Its cluster."""
        return self.snapshot.cluster

    @property
    def secret(self) -> Name | None:
        """The Secret that it follows."""
        return self.info.origin.secret_name if self.info.origin else None


class FleetSnapshot(NamedTuple):
    """All clusters that answered; `code` is the exit code of a command that found nothing wrong."""

    clusters: list[ClusterSnapshot]
    code: int
    limits: Limits
    """When each expiry state begins."""
    checks: CheckPolicy
    """How severe findings count, as for the controller."""

    def certificates(self) -> Iterator[LocatedCertificate]:
        """Yield all server certificates, the first to expire first."""
        every = [LocatedCertificate(one, info) for one in self.clusters for info in one.watched]
        yield from sorted(every, key=lambda c: (c.info.not_after, c.info.id))

    def hosts(
        self,
        cluster: ClusterSnapshot,
        shown: Iterable[HostProbe] = (),
        rejections: dict[str, str] | None = None,
        host: str | None = None,
    ) -> tuple[HostState, ...]:
        """Return the state of each host of a cluster, or of one; none if its Kubernetes API did not answer."""
        if cluster.view is None:
            return ()
        now, current = datetime.now(UTC), cluster.diagnosis
        view, observed, translation = current.view, current.observed, current.translation
        return host_states(view, observed, translation, shown, now, self.limits, rejections or {}, host)

    def matching(self, word: str) -> list[LocatedCertificate]:
        """Return the certificates that `word` means: by id, name or Secret, else by host, else by the start of an id.

        By host: those that a listener selects for that SNI name, unless it is a substitute. Raises UserError if there is none.
        """
        every = list(self.certificates())
        word = word.removeprefix("secret/")
        exact = [c for c in every if word in (c.info.id, c.info.name, str(c.secret) if c.secret else "")]
        if exact:
            return exact
        host = word.lower()
        served = [
            c
            for c in every
            if c.info.id in _selected(c.snapshot, host) and (covers(c.info.names, host) or self._wanted(c, host))
        ]
        if served:
            return served
        starts = [c for c in every if len(word) >= 6 and c.info.id.startswith(word)]
        if starts:
            return starts
        for state in (s for snapshot in self.clusters for s in self.hosts(snapshot)):
            for wanted in state.wants:
                if str(wanted.source.secret) == word:
                    action = f" Next: {state.next_action}." if state.next_action else ""
                    raise UserError(f"Secret {word} has no certificate on a load balancer: {wanted.sentence}{action}")
        raise UserError(
            f"No certificate is “{word}”: give an id, a name, NAMESPACE/SECRET or a host (certferry cert ls)."
        )

    def _wanted(self, located: LocatedCertificate, host: str) -> bool:
        """Return whether a claim wants this certificate for `host`."""
        return any(
            s.wanted
            and (
                s.wanted.source.secret == located.secret
                if s.wanted.source.secret
                else s.wanted.source.certificate_id == located.info.id
            )
            for s in for_host(self.hosts(located.snapshot), host)
        )

    def one(self, word: str) -> LocatedCertificate:
        """Return the certificate that `word` means. Raises UserError if there are several."""
        matches = self.matching(word)
        if len(matches) > 1:
            listed = ", ".join(f"{c.info.id} ({c.cluster.name})" for c in matches[:5])
            raise UserError(f"“{word}” is several certificates: {listed}. Give an id, and --cluster.")
        return matches[0]


async def read_fleet(
    config: Path | None, state: Path | None, cluster: str | None, *, quiet: bool = False
) -> FleetSnapshot:
    """Read every cluster, and report those that did not answer. Raises UserError if none did."""
    fleet = chosen(config, state, cluster)
    answers = await fan_out(fleet, take_snapshot)
    snapshots = [a.value for a in answers if a.value is not None]
    problems = [f"Cluster {a.cluster}: {a.trouble}" for a in answers if a.trouble]
    problems += [
        f"Cluster {s.cluster.name}: {s.trouble.rstrip('.')}. The answer is from its ELB alone."
        for s in snapshots
        if s.trouble
    ]
    if not quiet:
        for problem in problems:
            warn(problem)
    if not snapshots:
        raise UserError("No cluster answered.", PARTIAL)
    return FleetSnapshot(
        snapshots, PARTIAL if problems else 0, snapshots[0].cluster.limits, snapshots[0].options.checks
    )


async def each(fleet: Fleet, ask: Callable[[ClusterAccess], Awaitable[T]]) -> tuple[list[ClusterResult[T]], int]:
    """Call `ask` for every cluster, and report those that did not answer."""
    answers = await fan_out(fleet, ask)
    for answer in answers:
        if answer.trouble:
            warn(f"Cluster {answer.cluster}: {answer.trouble}")
    return answers, PARTIAL if any(a.trouble for a in answers) else 0


def run(work: Callable[[], Awaitable[int]]) -> None:
    """Run a command and exit with its code. An error of a remote becomes one line."""
    from certferry.elb.client.client import ElbError
    from certferry.elb.client.credentials import CredentialsError
    from certferry.kube.client.client import KubeError
    from certferry.kube.client.kubeconfig import KubeconfigError

    async def working() -> int:
        return await work()

    try:
        code = asyncio.run(working())
    except (ElbError, KubeError) as error:
        raise UserError(error.message, 1 if error.status else PARTIAL) from None
    except (CredentialsError, KubeconfigError) as error:
        raise UserError(str(error)) from None
    if code:
        raise typer.Exit(code)


def _selected(snapshot: ClusterSnapshot, host: str) -> set[str]:
    """Return the ids of the certificates that listeners select for an SNI name."""
    answers = (
        current_slots(listener, snapshot.observed.certificates).answer(host, kind)
        for listener in snapshot.observed.listeners.values()
        for kind in KEY_KINDS
    )
    return {certificate.id for certificate in answers if certificate}
