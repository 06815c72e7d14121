"""The quarantine mark in descriptions: written, read in its old form too, and short enough."""

from __future__ import annotations

from uuid import UUID

import msgspec

from certferry.core.model import naming
from certferry.core.model.kubernetes import RESUME_ANNOTATION, Meta, Secret
from certferry.core.model.quarantine import is_quarantined, mark, quarantine, quarantined_mark
from tests.core.support.fixtures import CLUSTER, NOW, chain

CHAIN = chain("f" * 64)
SECRET = Secret(
    meta=Meta(namespace="shop", name="site", uid=str(UUID(int=7)), created=NOW), type="kubernetes.io/tls", chain=CHAIN
)
PLAIN = naming.describe(CLUSTER, secret_id=SECRET.meta.uid, content="12345678")


def test_the_mark_is_written_under_its_new_key_and_fits_a_description() -> None:
    description = quarantine(PLAIN, CHAIN)
    assert naming.described(description)["quarantined"] == mark(CHAIN) == quarantined_mark(description)
    assert naming.described(description)["secret_id"] == SECRET.meta.uid
    assert len(description) <= 255
    assert is_quarantined(SECRET, description)


def test_a_mark_of_an_older_controller_counts_and_is_replaced() -> None:
    old = naming.describe(CLUSTER, secret_id=SECRET.meta.uid, parked=mark(CHAIN))
    assert is_quarantined(SECRET, old)
    assert "parked" not in naming.described(quarantine(old, chain("e" * 64)))


def test_another_content_and_a_resumed_one_are_not_quarantined() -> None:
    description = quarantine(PLAIN, CHAIN)
    assert not is_quarantined(SECRET, PLAIN)
    other = msgspec.structs.replace(SECRET, chain=chain("e" * 64))
    assert not is_quarantined(other, description)
    meta = msgspec.structs.replace(SECRET.meta, annotations={RESUME_ANNOTATION: CHAIN.fingerprint})
    assert not is_quarantined(msgspec.structs.replace(SECRET, meta=meta), description)
