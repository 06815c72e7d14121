"""A store with one order, and a CA in memory that counts requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from certferry.core.x509.pem import Chain, PrivateKey
from certferry.elb.server.acme.attempt import Attempts
from certferry.elb.server.acme.ca import Authorization, CaChallenge, CaError, CaIdentifier, CaOrder, Problem
from certferry.elb.server.acme.model import KEY, Issuer, Order, order_of
from certferry.elb.server.acme.schedule import Window
from certferry.elb.server.actor import Actor
from certferry.elb.server.api.extensions import issuers, orders
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Handler
from certferry.elb.server.api.resources import listeners, loadbalancers
from certferry.elb.server.dataplane.status import DataPlaneStatus, RouteStatuses
from certferry.elb.server.identity.users import Identity
from certferry.elb.server.store import schema
from certferry.elb.server.store.database import open_database
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.transaction import Transaction
from certferry.runtime.encryption import EncryptionKeys
from certferry.settings import ElbSettings
from tests.support.certs import Authority


class KilledError(BaseException):
    """The process ends here."""


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


class CountingCa:
    """A CA: one authorization per name, valid once its challenge was responded to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.authority = Authority()
        self.asked: Counter[str] = Counter()
        self.issued: list[str] = []
        self.replaced: list[str | None] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.refusal: CaError | None = None
        self.suggested: Window | None = None
        self.lifetime = timedelta(days=90)

    def connect(self, issuer: Issuer, key: PrivateKey) -> Any:
        return self

    def register(self, eab: PrivateKey | None) -> str:
        self.asked["register"] += 1
        return "https://ca/account"

    def place(self, names: Sequence[str], profile: str, replaces: str | None) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.asked["place"] += 1
        self.replaced.append(replaces)
        url = f"https://ca/order/{len(self.orders)}"
        self.orders[url] = {"names": tuple(names), "valid": set(), "pem": ""}
        return url

    def order(self, url: str) -> tuple[CaOrder, timedelta | None]:
        order = self.orders[url]
        if order["pem"]:
            status = "valid"
        elif order.get("error"):
            status = "invalid"
        else:
            status = "ready" if order["valid"] == set(order["names"]) else "pending"
        authorizations = tuple(f"{url}#{name}" for name in order["names"])
        return CaOrder(status, authorizations, f"{url}/finalize", f"{url}/pem", order.get("error")), None

    def authorization(self, url: str) -> Authorization:
        base, _, name = url.partition("#")
        valid, error = name in self.orders[base]["valid"], self.orders[base].get("error")
        offered = tuple(
            CaChallenge(kind, url, "valid" if valid else "pending", "token" * 5, error)
            for kind in ("http-01", "dns-01")
        )
        return Authorization("valid" if valid else "pending", CaIdentifier(name.removeprefix("*.")), offered)

    def respond(self, url: str) -> None:
        self.asked["respond"] += 1
        base, _, name = url.partition("#")
        self.orders[base]["valid"].add(name)

    def reject(self, url: str, sentence: str) -> None:
        self.orders[url]["error"] = Problem(detail=sentence)

    def finalize(self, url: str, csr: bytes) -> None:
        request, order = x509.load_der_x509_csr(csr), self.orders[url.removesuffix("/finalize")]
        assert not order["pem"], "finalized twice"
        key: Any = request.public_key()
        order["pem"] = self._sign(key, order["names"])
        self.issued.append(order["pem"])

    def _sign(self, key: Any, names: Sequence[str]) -> str:
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.authority.name)
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        now = self.clock.now
        builder = builder.not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + self.lifetime)
        extensions: list[x509.ExtensionType] = [
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.key.public_key()),
        ]
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        leaf = builder.sign(self.authority.key, hashes.SHA256())
        return leaf.public_bytes(Encoding.PEM).decode() + self.authority.certificate

    def certificate(self, url: str) -> str:
        return str(self.orders[url.removesuffix("/pem")]["pem"])

    def window(self, identifier: str) -> tuple[Window | None, timedelta | None]:
        self.asked["window"] += 1
        return self.suggested, timedelta(hours=8)

    def key_authorization(self, token: str) -> str:
        return f"{token}.thumbprint"


class Killer:
    """Ends the process before or after the commit of a number; 0: never."""

    def __init__(self, before: int = 0, after: int = 0) -> None:
        self.before, self.after, self.number = before, after, 0

    def around(self, transact: Callable[..., Any]) -> Callable[..., Any]:
        def counted(actor: Actor, request_id: str, decide: Callable[[Transaction], Any]) -> Any:
            self.number += 1
            if self.number == self.before:
                raise KilledError
            result = transact(actor, request_id, decide)
            if self.number == self.after:
                raise KilledError
            return result

        return counted


class _EveryRoute(RouteStatuses):
    """Every challenge is answered."""

    def answer(self, order_id: str, listener_ids: Iterable[str]) -> bool:
        return True


class World:
    """A store with an issuer and port 80, read anew by each process."""

    def __init__(self, directory: Path) -> None:
        self.settings = ElbSettings(state=directory)
        self.clock = Clock()
        self.ca = CountingCa(self.clock)
        self.path = directory / "elb.db"
        self.encryption = EncryptionKeys.open_or_create(directory / "key")
        identity = Identity(open_database(self.path), self.encryption)
        project = identity.ensure_project("p").id
        identity.close()
        self.admin = Actor(user_id="u", name="mary", role="admin", project_id=project)
        with self.opened() as store:
            self.make(store, loadbalancers.CRUD.create, loadbalancer={"name": "site"})
            (loadbalancer,) = store.snapshot.rows("loadbalancer")
            where = {"loadbalancer_id": loadbalancer, "protocol": "HTTP", "protocol_port": 80}
            self.make(store, listeners.CRUD.create, listener=where)
            self.make(store, issuers.add, name="ca", directory="https://ca/dir", terms_agreed=True)

    @contextmanager
    def opened(self, killer: Killer | None = None) -> Iterator[Store]:
        engine = open_database(self.path)
        try:
            store = Store(engine, self.encryption, clock=self.clock)
            if killer is not None:
                store.transact = killer.around(store.transact)  # type: ignore[method-assign]
            yield store
        finally:
            engine.dispose()

    def make(self, store: Store, handler: Handler, path: Mapping[str, str] | None = None, **body: Any) -> ApiResponse:
        return handler(
            ApiRequest(
                store=store,
                settings=self.settings,
                actor=self.admin,
                request_id="r",
                path=path or {},
                query=(),
                body=msgspec.json.encode(body),
            )
        )

    def attempts(self, store: Store) -> Attempts:
        plane = DataPlaneStatus(routes=_EveryRoute())
        return Attempts(store, lambda: plane, orders.delivery(store, self.settings), None, self.ca.connect)

    def work(self, killer: Killer | None = None, most: int = 50) -> Order:
        """Run a process until no step is due; raise KilledError when it is killed."""
        with self.opened(killer) as store:
            attempts = self.attempts(store)
            for _ in range(most):
                (row,) = store.snapshot.rows("order").values()
                if attempts.due(row) > self.clock.now + timedelta(seconds=1):  # the store's instants only grow
                    return order_of(row)
                attempts.step(row)
        raise AssertionError("no end")

    def content(self) -> tuple[int, Chain] | None:
        """Return version and chain of the one certificate; None if there is none."""
        with self.opened() as store:
            rows = list(store.snapshot.rows("certificate").values())
            assert len(rows) <= 1
            return (rows[0].content.version, rows[0].content.chain) if rows and rows[0].content else None

    def secrets(self) -> list[str]:
        """Return the names of the stored secrets of orders."""
        with open_database(self.path).connect() as connection:
            return [r.name for r in connection.execute(select(schema.acme_secrets)) if r.name == KEY]
