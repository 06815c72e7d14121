"""`certferry cert ls -o cyclonedx`: the document against its schema, and what it says."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from msgspec.structs import replace
from typer.testing import CliRunner

from certferry.cli import app
from certferry.cli.cert.lookup import FleetSnapshot


def as_parsed(fleet: FleetSnapshot) -> FleetSnapshot:
    """Return `fleet` with fingerprints as those of parsed certificates."""
    (snapshot,) = fleet.clusters
    certificates = {
        ref: replace(c, chain=replace(c.chain, fingerprint=sha256(c.chain.digest.encode()).hexdigest()))
        for ref, c in snapshot.observed.certificates.items()
        if c.chain
    }
    return fleet._replace(clusters=[replace(snapshot, observed=replace(snapshot.observed, certificates=certificates))])


def test_the_inventory_is_a_valid_document_with_certificates_keys_algorithms_and_listeners(
    fleet: FleetSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: object, **__: object) -> FleetSnapshot:
        return as_parsed(fleet)

    monkeypatch.setattr("certferry.cli.cert.show.read_fleet", read)
    result = CliRunner().invoke(app, ["cert", "ls", "-o", "cyclonedx"])
    assert result.exit_code == 0, result.output
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(result.stdout) is None
    assert "PRIVATE KEY" not in result.stdout
    document = msgspec.json.decode(result.stdout)
    kinds = [c["cryptoProperties"]["assetType"] for c in document["components"]]
    assert set(kinds) == {"certificate", "related-crypto-material", "algorithm"}
    assert kinds.count("certificate") == len(fleet.clusters[0].watched)
    hello = next(c for c in document["components"] if c["name"] == "demo/hello-tls")
    assert {"name": "certferry:host", "value": "hello.example.test"} in hello["properties"]
    (listener,) = document["services"]
    assert listener["endpoints"] == ["https://127.0.0.10:443"]
    served = next(d["dependsOn"] for d in document["dependencies"] if d["ref"] == listener["bom-ref"])
    assert hello["bom-ref"] in served


def test_a_filter_holds_for_the_document_too(fleet: FleetSnapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(*_: object, **__: object) -> FleetSnapshot:
        return fleet

    monkeypatch.setattr("certferry.cli.cert.show.read_fleet", read)
    result = CliRunner().invoke(app, ["cert", "ls", "-n", "apps", "-o", "cyclonedx"])
    names = {c["name"] for c in msgspec.json.decode(result.stdout)["components"]}
    assert "apps/shop-tls" in names
    assert "demo/hello-tls" not in names
