from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from certferry.core.x509.pem import parse_chain
from certferry.elb.server.paths import store_file
from certferry.elb.server.store import audit, versions
from certferry.elb.server.store.database import open_database
from certferry.runtime.encryption import EncryptionKeys
from tests.elb.support.server import Api, serving, settings_in
from tests.support.certs import authority


def older_store(path: Path, revision: str, rows: Mapping[str, tuple[Any, ...]]) -> None:
    """Create a store with the schema of `revision` and one row in each of the tables; dicts and lists become JSON."""
    config = Config()
    config.set_main_option("script_location", "certferry.elb.server.store:migrations")
    older = create_engine(f"sqlite:///{path}")
    with older.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    older.dispose()
    with closing(sqlite3.connect(path)) as database, database:
        for table, row in rows.items():
            values = [json.dumps(value) if isinstance(value, dict | list) else value for value in row]
            columns = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")][: len(row)]
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)


def test_a_store_of_the_first_release_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "elb.db"
    audited: tuple[Any, ...] = (1, "2026-01-01 00:00:00.000000", "mary", "admin", "r", "p", "delete", "pool", "p1", [])
    older_store(path, "0001", {"audit": audited})
    engine = open_database(path)
    try:
        (entry,) = audit.search(engine, audit.Search(project_id="p"))
    finally:
        engine.dispose()
    assert (entry.user, entry.verb, entry.name, entry.previous_fingerprint) == ("mary", "delete", "", None)
    with sqlite3.connect(path) as database, pytest.raises(sqlite3.DatabaseError, match="append-only"):
        database.execute("DELETE FROM audit")
    database.close()


OLD_DESCRIPTION = (
    '{"attention":"Kept by Certferry, do not change","cluster_id":"4233d563-c0e8-4901-9680-821e0a506af2"'
    ',"options":"953d18bf","bound":"9d78f0ab"}'
)
WRITTEN = "2026-11-20 09:44:46.135497"


def test_a_store_of_version_0003_opens_with_its_ids_and_keys(tmp_path: Path) -> None:
    """Rows as the version before the redesign wrote them: schema 0003, descriptions, encrypted key, password hash."""
    settings = settings_in(tmp_path)
    settings.state.mkdir()
    key = secrets.token_bytes(32)
    (settings.state / "elb-seal.key").write_text(base64.b64encode(key).decode() + "\n")
    (settings.state / "elb-seal.key").chmod(0o600)
    pair, project = authority().issue("hello.certferry.test"), "c21584f0c81443489b9ca04bb31ea9dd"
    certificate, listener = "7ee37b6720254f53b2fe7fcfd00b3f45", "bfcf924d-d18e-4a71-8121-156e51b06a48"
    balancer, pool, member = (f"{n}d4d75d9-ba44-4f1e-97a7-533e9578b403" for n in (4, 5, 6))
    chain = parse_chain(pair.certificate)
    life = (str(chain.not_before)[:19] + ".000000", str(chain.not_after)[:19] + ".000000")
    encrypted = EncryptionKeys([key]).encrypt(pair.key.encode(), f"certificate:{certificate}:1")
    times, protection = (WRITTEN, WRITTEN, 1), {"protection_status": "nonProtection", "protection_reason": ""}
    named = {"admin_state_up": True, "enterprise_project_id": "0", **protection}
    tags: dict[str, Any] = {"tags": []}
    rows: dict[str, tuple[Any, ...]] = {
        "projects": (project, "certferry", "Default", WRITTEN),
        "certificates": (
            *(certificate, project, "server", "local", None, "demo", "hello-tls", 1),
            {"name": "k8s_plb_default_x", "description": OLD_DESCRIPTION, "domain": "hello.certferry.test"}
            | {"scm_certificate_id": None, "source": None, "enterprise_project_id": "0", **protection},
            *times,
        ),
        "certificate_versions": (
            *(certificate, 1, chain.digest, chain.fingerprint, *life, pair.certificate, encrypted),
            *("controller-local", WRITTEN, "create", None),
        ),
        "loadbalancers": (
            *(balancer, project, "127.57.165.10", 0),
            {"name": "certferry", "description": "", "privileged_shift": 0, "availability_zone_list": ["eu-de-01"]}
            | dict.fromkeys(("l4_flavor_id", "l7_flavor_id", "vip_subnet_cidr_id", "ipv6_vip_virsubnet_id", "vpc_id"))
            | {"ip_target_enable": True, "charge_mode": "flavor", "elb_virsubnet_ids": [], "publicip_id": None}
            | {"deletion_protection_enable": False, "waf_failure_action": "", "vip_port_id": member, **named, **tags},
            *times,
        ),
        "listeners": (
            *(listener, project, balancer, "tcp", 443, None, certificate, None),
            {"name": "k8s_HTTPS_443", "description": OLD_DESCRIPTION, "protocol": "HTTPS", "sni_container_refs": []}
            | {"sni_match_algo": "wildcard", "tls_ciphers_policy": "tls-1-2", "http2_enable": False, "past_names": []}
            | {"keepalive_timeout": 60, "client_timeout": 60, "member_timeout": 60, "insert_headers": {}}
            | {"security_policy_id": None, "ipgroup": None, "enhance_l7policy_enable": False, "gzip_enable": False}
            | {"enable_member_retry": True, "transparent_client_ip_enable": True, **named, **tags},
            *times,
        ),
        "pools": (
            *(pool, project, balancer),
            {"name": "k8s_demo_hello-80_HTTPS-443", "description": OLD_DESCRIPTION, "lb_algorithm": "ROUND_ROBIN"}
            | {"session_persistence": None, "slow_start": None, "connection_drain": None, "ip_version": "dualstack"}
            | {"protocol": "HTTP", "type": "", "vpc_id": None, "member_deletion_protection_enable": False, **named},
            *times,
        ),
        "members": (
            *(member, project, pool, "127.0.0.1", 21615),
            {"name": "m", "weight": 1, "admin_state_up": True, "availability_zone": None, "subnet_cidr_id": None},
            *times,
        ),
    }
    older_store(store_file(settings.state), "0003", rows)
    with serving(settings) as elb:
        api = Api(elb.origin, project, elb.credentials.admin)
        assert elb.credentials.project_id == project
        assert api.show("listener", listener)["default_tls_container_ref"] == certificate
        assert api.show("listener", listener)["description"] == OLD_DESCRIPTION
        assert api.show("loadbalancer", balancer)["vip_address"] == "127.57.165.10"
        assert [m["id"] for m in api("GET", f"/pools/{pool}/members").body["members"]] == [member]
        shown = api.show("certificate", certificate)
        assert (shown["certificate"], shown["domain"]) == (pair.certificate, "hello.certferry.test")
        assert [
            v["number"] for v in api.extension("GET", f"/certificates/{certificate}/versions").body["versions"]
        ] == [1]
    engine = open_database(store_file(settings.state))
    content = versions.content(engine, EncryptionKeys([key]), certificate, 1)
    engine.dispose()
    assert content is not None
    assert content.key is not None
    assert content.key.reveal().strip() == pair.key.strip()
