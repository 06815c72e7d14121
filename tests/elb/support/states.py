"""States for tests of the data plane, written down in few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from certferry.core.model.elb import State
from certferry.core.x509.pem import Chain


def state(written: Mapping[str, Any], chain: Callable[[str, Mapping[str, Any]], Chain | None]) -> State:
    """A State from mappings by id, in which ids go without saying; `chain` makes a certificate's chain.

    ``key`` of a certificate is the kind of its key; null stands for a certificate that cannot be read.
    """
    wire = {kind: _identified(objects) for kind, objects in written.items()}
    certificates = wire.pop("certificates", {})
    chains = {name: chain(name, body) for name, body in certificates.items()}
    bare = {name: {k: v for k, v in body.items() if k != "key"} for name, body in certificates.items()}
    made = msgspec.convert(wire | {"certificates": {n: b | {"chain": None} for n, b in bare.items()}}, State)
    filled = {n: msgspec.structs.replace(c, chain=chains[n]) for n, c in made.certificates.items()}
    return msgspec.structs.replace(made, certificates=filled)


def written_chain(name: str, body: Mapping[str, Any]) -> Chain | None:
    """The facts of a chain that never was: nothing in the core looks at its PEM."""
    key = body.get("key", "P-256")
    if key is None:
        return None
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Chain(
        pem=f"(PEM of {name})\n",
        digest=f"digest of {name}",
        fingerprint=f"fingerprint of {name}",
        spki=f"public key of {name}",
        names=tuple(body.get("domain", ())),
        common_name=name,
        subject=f"CN={name}",
        issuer="CN=Test CA",
        serial="1",
        not_before=now,
        not_after=now,
        key=key,
        length=1,
        self_signed=False,
    )


def _identified(objects: Any) -> Any:
    return {n: {"id": n, **o} if isinstance(o, Mapping) and "protocols" not in o else o for n, o in objects.items()}
