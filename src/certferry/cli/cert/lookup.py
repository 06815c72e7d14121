"""What the commands work on: a look at every cluster, and which certificate is meant by a word."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer

from certferry import settings
from certferry.cli.cert.completion import certificates
from certferry.cli.output import PARTIAL, warn
from certferry.clusters import ClusterAccess, ClusterResult, Fleet, fan_out, locate, read
from certferry.clusters.snapshot import ClusterSnapshot, take_snapshot
from certferry.core.checks import Policy
from certferry.core.diagnosis.inventory import CertificateInfo
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import covers
from certferry.settings import ControllerSettings, UserError

T = TypeVar("T")

Cluster = Annotated[str | None, typer.Option(help="Only this cluster of the settings file.")]
Reference = Annotated[
    str,
    typer.Argument(
        help="An id, a name, NAMESPACE/SECRET, or a host that it is served for.", autocompletion=certificates
    ),
]


class Found(NamedTuple):
    """One certificate, and where it was seen."""

    picture: ClusterSnapshot
    it: CertificateInfo

    @property
    def cluster(self) -> ClusterAccess:
        """Its cluster."""
        return self.picture.cluster

    @property
    def secret(self) -> Name | None:
        """The Secret that it follows."""
        return self.it.origin.secret_name if self.it.origin else None


class FleetSnapshot(NamedTuple):
    """What all clusters showed; `code` is what a command ends with that found nothing wrong."""

    pictures: list[ClusterSnapshot]
    code: int

    def certificates(self) -> Iterator[Found]:
        """All of them, the soonest end first."""
        found = [Found(picture, it) for picture in self.pictures for it in picture.watched]
        yield from sorted(found, key=lambda f: (f.it.not_after, f.it.id))

    def matching(self, word: str) -> list[Found]:
        """Those that `word` means: by id, name or Secret, else by host. Raises ``Refused`` where none is."""
        every = list(self.certificates())
        word = word.removeprefix("secret/")
        exact = [f for f in every if word in (f.it.id, f.it.name, str(f.secret) if f.secret else "")]
        if exact:
            return exact
        host = word.lower()
        served = [f for f in every if f.it.used and (host in f.it.hosts or covers(f.it.names, host))]
        if served:
            return served
        starts = [f for f in every if len(word) >= 6 and f.it.id.startswith(word)]
        if starts:
            return starts
        raise UserError(
            f"No certificate is “{word}”: give an id, a name, NAMESPACE/SECRET or a host (certferry cert ls)."
        )

    def one(self, word: str) -> Found:
        """The one that `word` means. Raises ``Refused`` where there are several."""
        found = self.matching(word)
        if len(found) > 1:
            listed = ", ".join(f"{f.it.id} ({f.cluster.name})" for f in found[:5])
            raise UserError(f"“{word}” is several certificates: {listed}. Give an id, and --cluster.")
        return found[0]


def chosen(config: Path | None, state: Path | None, cluster: str | None) -> Fleet:
    """The clusters of the settings, or the one that was named."""
    fleet = read(config, state)
    return Fleet(clusters=(fleet.cluster(cluster),), file=fleet.file) if cluster else fleet


def policy(config: Path | None, state: Path | None) -> Policy:
    """How severe findings are to count: as the controller's section of the settings file says."""
    from certferry.controller.translate_options import options_of

    file = locate(config, state, os.environ)
    return options_of(settings.read(ControllerSettings, "controller", {}, os.environ, file)).checks


async def read_fleet(fleet: Fleet) -> FleetSnapshot:
    """Look at every cluster; say which did not answer. Raises ``Refused`` where none did."""
    answers = await fan_out(fleet, take_snapshot)
    pictures = [a.value for a in answers if a.value is not None]
    code = 0
    for answer in answers:
        if answer.trouble:
            warn(f"Cluster {answer.cluster}: {answer.trouble}")
            code = PARTIAL
    for picture in pictures:
        if picture.trouble:
            warn(f"Cluster {picture.cluster.name}: {picture.trouble}. What follows is its ELB's alone.")
            code = PARTIAL
    if not pictures:
        raise UserError("No cluster answered.", PARTIAL)
    return FleetSnapshot(pictures, code)


async def each(
    fleet: Fleet, ask: Callable[[ClusterAccess], Awaitable[T]]
) -> tuple[list[ClusterResult[T]], int]:
    """`ask` every cluster; say which did not answer."""
    answers = await fan_out(fleet, ask)
    for answer in answers:
        if answer.trouble:
            warn(f"Cluster {answer.cluster}: {answer.trouble}")
    return answers, PARTIAL if any(a.trouble for a in answers) else 0


def run(work: Callable[[], Awaitable[int]]) -> None:
    """Run a command and end with its code; what a remote refuses is one line."""
    from certferry.elb.client.client import CredentialsError, ElbError
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
