"""Shell completion: names of certificates, quickly, and no output if the ELB does not answer."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.controller.conftest import System
from tests.controller.test_incidents import Desk
from tests.support.certs import authority

pytestmark = pytest.mark.process

CERTFERRY = Path(sys.executable).parent / "certferry"


async def completed(desk: Desk, *words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    environment = {
        **os.environ,
        "_CERTFERRY_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("certferry", *words)),
        "COMP_CWORD": str(len(words)),
        "CERTFERRY_CONFIG": str(desk.settings),
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(CERTFERRY, env=environment, stdout=pipe, stderr=pipe)
    said, complaints = await process.communicate()
    assert complaints == b""
    return said.decode().split()


async def test_names_come_from_the_load_balancers(system: System, tmp_path: Path) -> None:
    for host in ("shop.example.com", "shore.example.com", "else.example.com"):
        pair = authority().issue(host)
        system.elb.certificate(pair.certificate, pair.key, name=f"by-hand-{host}", domain=host)
    desk = Desk(system, tmp_path)
    shown, why = await asyncio.gather(completed(desk, "cert", "show", "sho"), completed(desk, "why", "e"))
    assert shown == ["shop.example.com", "shore.example.com"]
    assert why == ["else.example.com"]
    await system.elb.stop()
    assert await completed(desk, "cert", "show", "sho") == []
