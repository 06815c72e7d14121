from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from tests.elb.server.store.program import Program, elb_program
from tests.elb.support.server import Api, Reply, send
from tests.support.certs import Pair, authority

ROOM = 24 * 1024


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def put(api: Api, identifier: str, pair: Pair) -> Reply:
    return api("PUT", f"/certificates/{identifier}", {"certificate": content(pair)})


def limit(elb: Program, room: int) -> None:
    """Files of the process cannot grow further than that beyond what the largest of the store has."""
    hard = resource.prlimit(elb.process.pid, resource.RLIMIT_FSIZE)[1]
    largest = max(file.stat().st_size for file in elb.state.glob("elb.db*"))
    resource.prlimit(elb.process.pid, resource.RLIMIT_FSIZE, (largest + room if room >= 0 else hard, hard))


def login(elb: Program, password: str) -> Reply:
    user = {"name": elb.api.account.username, "password": password, "domain": {"name": "Default"}}
    body: dict[str, Any] = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    return send(elb.api.origin, "POST", "/v3/auth/tokens", json.dumps(body).encode())


def test_a_full_disk_is_an_error_and_writes_resume_when_there_is_room(tmp_path: Path) -> None:
    with elb_program(tmp_path) as elb:
        served = authority().issue("a.example")
        identifier = str(elb.api.make("certificate", **content(served))["id"])
        limit(elb, ROOM)
        for _ in range(200):
            pair = authority().issue("a.example")
            reply = put(elb.api, identifier, pair)
            if reply.status != 200:
                break
            served = pair
        assert (reply.status, reply.code) == (507, "ELB.8906")
        assert "nothing was changed" in reply.sentence
        assert "Make room" in reply.sentence
        assert elb.api.show("certificate", identifier)["certificate"] == served.certificate, "reading goes on"
        assert login(elb, elb.api.account.password).status in (201, 507)
        limit(elb, -1)
        healed = authority().issue("a.example")
        assert put(elb.api, identifier, healed).status == 200
        assert login(elb, elb.api.account.password).status == 201
        assert elb.api.show("certificate", identifier)["certificate"] == healed.certificate
        versions = elb.api.extension("GET", f"/certificates/{identifier}/versions").body["versions"]
        numbers = [one["number"] for one in versions]
        assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1)), "no half-written version"
