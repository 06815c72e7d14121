"""Certificates for the xDS connection between the ELB and its remote Envoys; no client of a listener sees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from certferry.elb.server.store import schema
from certferry.elb.server.store.database import reading
from certferry.elb.server.store.key_rotation import CA_PURPOSE
from certferry.runtime.encryption import EncryptionKeys
from certferry.runtime.private_ca import CLIENT, CLOCK_SKEW, SERVER, Issued, Leaf, PrivateCa, subject

SERVER_NAME: Final = "xds.certferry.internal"
"""The name in the ELB's certificate: Envoys look for it, whatever address they reach it at."""
_ONLY: Final = 1
"""The id of the one row."""


class Authority:
    """The CA of the ELBs of a database and their remote Envoys; `pem` is its certificate."""

    def __init__(self, engine: Engine, encryption: EncryptionKeys) -> None:
        """Open the CA of this database, created at first use. Raises ``EncryptionError``."""
        ca = _stored(engine, encryption)
        if ca is None:
            ca = PrivateCa.create("Certferry Envoys", datetime.now(UTC) - CLOCK_SKEW)
            try:
                with engine.begin() as connection:
                    keep(connection, encryption, ca)
            except IntegrityError:  # another ELB was first
                ca = _stored(engine, encryption)
                assert ca is not None
        self._ca = ca
        self.pem = ca.pem

    def server(self) -> Issued:
        """Issue the ELB's certificate, valid for 90 days."""
        return self._issue(SERVER_NAME, 90, SERVER, x509.DNSName(SERVER_NAME))

    def client(self, name: str, days: int) -> Issued:
        """Issue an Envoy's certificate."""
        ascii_name = name.encode("idna" if name.isascii() else "punycode").decode()
        return self._issue(name, days, CLIENT, x509.UniformResourceIdentifier(f"certferry:envoy:{ascii_name}"))

    def _issue(self, name: str, days: int, purpose: x509.ObjectIdentifier, alternative: x509.GeneralName) -> Issued:
        now = datetime.now(UTC).replace(microsecond=0)
        return self._ca.issue(Leaf(subject(name), [alternative], purpose, now - CLOCK_SKEW, now + timedelta(days=days)))


def keep(connection: Connection, encryption: EncryptionKeys, ca: PrivateCa) -> None:
    """Store `ca` as the CA of this database. Raises IntegrityError if there is one."""
    sealed = encryption.encrypt(ca.key_pem, CA_PURPOSE)
    row = {"id": _ONLY, "certificate": ca.pem.decode(), "sealed_key": sealed}
    connection.execute(insert(schema.envoy_authority), row)


def _stored(engine: Engine, encryption: EncryptionKeys) -> PrivateCa | None:
    with reading(engine).connect() as connection:
        row = connection.execute(select(schema.envoy_authority)).first()
    return PrivateCa.of_pem(row.certificate.encode(), encryption.decrypt(row.sealed_key, CA_PURPOSE)) if row else None
