"""Stores that earlier versions wrote."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from certferry.kube.apiserver.storage import log
from certferry.runtime.encryption import EncryptionKeys
from tests.kube.support.server_process import client, secret, server

SECRETS = "/api/v1/namespaces/demo/secrets"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/demo/ingresses"
VERSION_0_1 = """
    CREATE TABLE change (
        revision INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        verb TEXT NOT NULL,
        facts BLOB NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE current (
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        revision INTEGER NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    ) WITHOUT ROWID;
    CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO setting VALUES ('revision', 0), ('compacted', 0);
    PRAGMA user_version = 1;
"""
"""The schema of 0.1, as text: it must not follow the schema of today."""


def older(kind: str, name: str, namespace: str, revision: int, **fields: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "uid": f"c0ffee00-0000-4000-8000-{revision:012}"}
    if namespace:
        meta["namespace"] = namespace
    meta |= {"creationTimestamp": "2026-11-20T09:44:46Z", "resourceVersion": str(revision)}
    return {"kind": kind, "apiVersion": "v1", "metadata": meta, **fields}


async def test_a_store_of_version_0_1_opens_with_its_objects_keys_and_tokens(tmp_path: Path) -> None:
    folder, key, token = tmp_path / "kube", secrets.token_bytes(32), secrets.token_urlsafe(32)
    folder.mkdir()
    for name, text in (("seal.key", base64.b64encode(key).decode()), ("tokens.json", json.dumps({"admin": token}))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    namespace = older("Namespace", "demo", "", 1, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"})
    data = {"tls.crt": "YQ==", "tls.key": "Yg=="}
    kept = older("Secret", "shop-tls", "demo", 3, type="kubernetes.io/tls", data=data)
    rule = {"host": "shop.test", "http": {"paths": []}}
    ingress = older("Ingress", "shop", "demo", 4, spec={"rules": [rule]}, status={"loadBalancer": {}})
    ingress["apiVersion"] = "networking.k8s.io/v1"
    rows: tuple[tuple[str, str, dict[str, Any], dict[str, str]], ...] = (
        ("namespaces", "ADDED", namespace, {"status.phase": "Active"}),
        ("secrets", "ADDED", older("Secret", "gone", "demo", 2, type="Opaque"), {"type": "Opaque"}),
        ("secrets", "ADDED", kept, {"type": "kubernetes.io/tls"}),
        ("ingresses", "ADDED", ingress, {}),
        ("secrets", "DELETED", older("Secret", "gone", "demo", 5, type="Opaque"), {"type": "Opaque"}),
    )
    with closing(sqlite3.connect(folder / "store.db")) as database, database:
        database.executescript(VERSION_0_1)
        for number, (kind, verb, body, fields) in enumerate(rows, 1):
            meta, stored = body["metadata"], json.dumps(body).encode()
            place = (kind, meta.get("namespace", ""), meta["name"])
            if kind == "secrets":
                stored = EncryptionKeys([key]).encrypt(stored, "/".join(("kube", *place, str(number))))
            selected = {"metadata.name": meta["name"], "metadata.namespace": place[1], **fields}
            now = {"labels": {}, "fields": selected}
            facts = json.dumps({"now": now, "before": now if verb == "DELETED" else None}).encode()
            database.execute(
                "INSERT INTO change VALUES (?, 1763631886.5, ?, ?, ?, ?, ?, ?)", (number, *place, verb, facts, stored)
            )
            if verb == "DELETED":
                database.execute("DELETE FROM current WHERE name = ?", (meta["name"],))
            else:
                database.execute("INSERT INTO current VALUES (?, ?, ?, ?)", (*place, number))
    async with server(tmp_path) as api:
        assert (await api.get(f"{SECRETS}/shop-tls")).body == kept
        assert [i["metadata"]["name"] for i in (await api.get(SECRETS)).body["items"]] == ["shop-tls"]
        shown = (await api.get(f"{INGRESSES}/shop")).body
        assert (shown["metadata"]["uid"], shown["spec"]) == (ingress["metadata"]["uid"], ingress["spec"])
        changed = (await api.patch(f"{SECRETS}/shop-tls", {"data": {"tls.key": "Yw=="}})).body
        assert changed["metadata"]["uid"] == kept["metadata"]["uid"]
        assert int(changed["metadata"]["resourceVersion"]) > len(rows)
        assert (await api.post(SECRETS, secret("later"))).code == 201
        async with api.watch(SECRETS, resourceVersion="2") as events:
            assert await events.types(4) == ["ADDED", "DELETED", "MODIFIED", "ADDED"]
    assert json.loads((folder / "tokens.json").read_text())["admin"] == token
    with closing(sqlite3.connect(folder / "store.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(log.SCHEMA),)
    async with server(tmp_path), client(tmp_path) as api:
        assert (await api.get(f"{SECRETS}/shop-tls")).body["data"]["tls.key"] == "Yw=="
