"""Names of certificates for the shell, when somebody presses Tab in `certferry cert …` or `certferry why`.

One short question to each ELB of the settings. Whatever goes wrong is silence: a shell has no place for
an error message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import typer

from certferry.core.model.elb import Certificate

DEADLINE: Final = 1.5
"""Seconds that somebody waits for a Tab."""


def certificates(context: typer.Context, incomplete: str) -> list[str]:
    """Hosts, Secrets, names and ids that begin with `incomplete`."""
    return _beginning(context, incomplete, _words)


def hosts(context: typer.Context, incomplete: str) -> list[str]:
    """Hosts that begin with `incomplete`."""
    return _beginning(context, incomplete, _hosts)


def _beginning(
    context: typer.Context, incomplete: str, words: Callable[[Certificate], Iterator[str]]
) -> list[str]:
    from certferry.cli.cert.lookup import chosen
    from certferry.clusters import fan_out
    from certferry.clusters.cluster import ClusterAccess

    async def ask(cluster: ClusterAccess) -> Mapping[str, Certificate]:
        async with cluster.elb() as elb:
            return await elb.certificates()

    given = context.params
    try:
        fleet = chosen(given.get("config"), given.get("state"), given.get("cluster"))
        answers = asyncio.run(fan_out(fleet, ask, DEADLINE))
    except Exception:  # noqa: BLE001 (see above)
        return []
    every = (it for answer in answers for it in (answer.value or {}).values() if it.type == "server")
    return sorted({word for it in every for word in words(it) if word.startswith(incomplete)})


def _hosts(it: Certificate) -> Iterator[str]:
    yield from (name for name in it.domain if not name.startswith("*."))


def _words(it: Certificate) -> Iterator[str]:
    yield from _hosts(it)
    if it.source:
        yield f"{it.source.namespace}/{it.source.secret}"
    yield it.id
    if it.name:
        yield it.name
