"""Completion of certificates and hosts in the shell: one request to each ELB of the settings.

An error gives no completions, because a shell has no place for a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import typer

from certferry.core.model.elb import Certificate

DEADLINE: Final = 1.5
"""Seconds until completion gives up."""


def certificates(context: typer.Context, incomplete: str) -> list[str]:
    """Return hosts, Secrets, names and ids that begin with `incomplete`."""
    return _beginning(context, incomplete, _words)


def hosts(context: typer.Context, incomplete: str) -> list[str]:
    """Return hosts that begin with `incomplete`."""
    return _beginning(context, incomplete, _hosts)


def _beginning(context: typer.Context, incomplete: str, words: Callable[[Certificate], Iterator[str]]) -> list[str]:
    from certferry.cli.options import chosen
    from certferry.clusters import fan_out
    from certferry.clusters.cluster import ClusterAccess

    async def ask(cluster: ClusterAccess) -> Mapping[str, Certificate]:
        async with cluster.elb(short=True) as elb:
            return await elb.certificates()

    given = context.params
    try:
        fleet = chosen(given.get("config"), given.get("state"), given.get("cluster"))
        answers = asyncio.run(fan_out(fleet, ask, DEADLINE))
    except Exception:  # noqa: BLE001 (see above)
        return []
    every = (c for answer in answers for c in (answer.value or {}).values() if c.type == "server")
    return sorted({word for one in every for word in words(one) if word.startswith(incomplete)})


def _hosts(certificate: Certificate) -> Iterator[str]:
    yield from (name for name in certificate.domain if not name.startswith("*."))


def _words(certificate: Certificate) -> Iterator[str]:
    yield from _hosts(certificate)
    if certificate.source:
        yield f"{certificate.source.namespace}/{certificate.source.secret}"
    yield certificate.id
    if certificate.name:
        yield certificate.name
