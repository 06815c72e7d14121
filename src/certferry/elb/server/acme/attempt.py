"""One step of an order: gather what the CA and Envoy say, decide, and act with one transaction.

Every step may be repeated, because a killed process takes the same step again. A step that asks the CA for
something persistent is preceded by the transaction that stores what a repetition needs.
"""

from __future__ import annotations

import hashlib
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from msgspec.structs import replace

from certferry.core.x509.pem import Chain, PrivateKey
from certferry.elb.server.acme import schedule
from certferry.elb.server.acme.ca import Authorization, Ca, CaChallenge, CaError, CaOrder, CaUnavailable
from certferry.elb.server.acme.dns_hook import DnsHook, HookError
from certferry.elb.server.acme.model import (
    ACCOUNT,
    EAB,
    KEY,
    ChallengeAnswer,
    Delivery,
    Issuer,
    KeyType,
    Order,
    OrderState,
    data_of,
    issuer_of,
    order_of,
)
from certferry.elb.server.actor import Actor
from certferry.elb.server.dataplane.status import Reporter
from certferry.elb.server.errors import ApiError
from certferry.elb.server.rules import compromised
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.tables import Row, StoreSnapshot, project
from certferry.elb.server.store.transaction import Transaction

_log = structlog.get_logger("certferry.elb")
USER: Final = "issuance"
"""The name in the audit log of the orders' own writes."""
NO_LISTENER: Final = "http-01 needs a listener of protocol HTTP on port 80 of a load balancer of this project"
_ACCEPT: Final = timedelta(seconds=60)
"""Time for Envoy to accept the route of a challenge."""
_SOON: Final = 0.1
_KEPT: Final = timedelta(hours=1)
"""Age at which a connection and the CA's directory are renewed."""
_SHORTEST_POLL, _LONGEST_POLL = 0.5, 15.0
"""Seconds between two looks at an order."""
_CURVES: Final = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}

Deliver = Callable[[Transaction, Order, Delivery], str]
"""Writes an issued certificate within a transaction and returns its id. Raises ApiError if it is not accepted."""


class Progress(NamedTuple):
    """The order after a step, and what is stored with it."""

    order: Order
    secrets: Mapping[str, PrivateKey | None] = MappingProxyType({})
    delivery: Delivery | None = None


class Wait(NamedTuple):
    """Nothing to store: look again after these seconds."""

    seconds: float


class AttemptFailed(Exception):
    """The attempt cannot succeed any more."""


class Attempts:
    """Takes the steps of orders. Its methods may be called from several threads, for different orders."""

    def __init__(
        self,
        store: Store,
        plane: Reporter,
        deliver: Deliver,
        hook: DnsHook | None = None,
        connect: Callable[[Issuer, PrivateKey], Ca] = Ca,
    ) -> None:
        self._store = store
        self._plane = plane
        self._deliver = deliver
        self._hook = hook
        self._connect = connect
        self._began = store.now()
        """Envoy needs time to connect after a restart."""
        self._idle: dict[tuple[str, int], list[tuple[datetime, Ca]]] = {}
        """Connections to CAs that no step uses, by the issuer's id and revision."""

    def step(self, row: Row) -> float:
        """Take the next step of the order `row` and return the seconds until the following one, 0 = at once."""
        order, now = order_of(row), self._store.now()
        if order.certificate_id and self._store.snapshot.get("certificate", order.certificate_id) is None:
            self._withdraw(row)
            return 0
        try:
            done = self._next(row, order, now)
        except CaUnavailable as trouble:
            troubles = order.troubles + 1
            at = schedule.after_trouble(now, troubles, trouble.retry_after)
            done = Progress(replace(order, troubles=troubles, error=trouble.sentence, next_at=at))
        except CaError as refusal:
            done = self._failed(order, now, refusal.sentence, refusal.retry_after)
        except (AttemptFailed, HookError) as failure:
            done = self._failed(order, now, str(failure))
        if isinstance(done, Wait):
            return done.seconds
        try:
            self._commit(row, done)
        except ApiError as refusal:
            sentence = f"The issued certificate is not accepted: {refusal.sentence}"
            self._commit(row, self._failed(order, now, sentence))
        return 0

    def look(self, row: Row) -> datetime:
        """Read when the CA suggests to renew the certificate of `row`, store a change, and return when to look again."""
        order, now = order_of(row), self._store.now()
        chain = self._present(order)
        if chain is None:
            return schedule.next_look(now, None)
        window, wait = None, None
        identifier = schedule.ari_identifier(chain.pem)
        if identifier is not None and now < chain.not_after:
            try:
                with self._connected(row, order) as ca:
                    window, wait = ca.window(identifier)
            except (CaError, CaUnavailable) as error:
                wait = error.retry_after
        at, reason = schedule.renewal(chain, window)
        if (at, reason) != (order.next_at, order.reason):
            self._commit(row, Progress(replace(order, next_at=at, reason=reason)))
        return schedule.next_look(now, wait)

    def due(self, row: Row) -> datetime:
        """Return when the next step of the order `row` is due; the past if its key is compromised."""
        order = order_of(row)
        if order.next_at is None:
            return row.updated_at
        if order.state == "waiting" and not order.failures:
            chain, snapshot = self._present(order), self._store.snapshot
            if chain is not None and compromised.mark_of(snapshot, row.project_id, chain.spki):
                return row.updated_at
        return order.next_at

    def _next(self, row: Row, order: Order, now: datetime) -> Progress | Wait:
        if order.started_at is not None and now - order.started_at > schedule.ATTEMPT:
            last = f": {order.error}" if order.error else ""
            raise AttemptFailed(f"The CA did not finish the order within {schedule.ATTEMPT}{last}")
        with self._connected(row, order) as ca:
            return self._advance(ca, row, order, now)

    def _advance(self, ca: Ca, row: Row, order: Order, now: datetime) -> Progress | Wait:
        if order.state == "waiting":
            return self._place(ca, order, now)
        if order.state == "presented":
            return self._present_answers(ca, row, order, now)
        present, wait = ca.order(order.url)
        poll = Wait(_poll(now - row.updated_at, wait))
        if present.status == "invalid":
            raise AttemptFailed(self._why(ca, present))
        if order.state == "finalizing":
            return self._finalize(ca, row, order, present) or poll
        if present.status != "pending":
            # All names are validated, maybe by earlier orders.
            self._clean_up(order)
            key = _new_key(order.key_type)
            return Progress(_entered(order, "finalizing", challenges=(), listener_ids=()), {KEY: key})
        return self._answers(ca, row, order, present) if order.state == "placed" else poll

    def _place(self, ca: Ca, order: Order, now: datetime) -> Progress:
        chain = self._present(order)
        replaced = schedule.ari_identifier(chain.pem) if chain is not None else None
        url = ca.place(order.names, order.profile, replaced)
        return Progress(_entered(order, "placed", url=url, started_at=now))

    def _answers(self, ca: Ca, row: Row, order: Order, present: CaOrder) -> Progress:
        """Compute the answers to all challenges, and store them before they are presented."""
        if len(present.authorizations) > len(order.names):
            raise AttemptFailed("The CA asks to validate more names than the order has")
        pending = [(url, a) for url in present.authorizations if (a := ca.authorization(url)).status != "valid"]
        answers = tuple(_answer(ca, order, url, authorization) for url, authorization in pending)
        listeners = challenge_listeners(self._store.snapshot, row.project_id) if order.challenge == "http-01" else ()
        if order.challenge == "http-01" and not listeners:
            raise AttemptFailed(NO_LISTENER)
        return Progress(_entered(order, "presented", challenges=answers, listener_ids=listeners))

    def _present_answers(self, ca: Ca, row: Row, order: Order, now: datetime) -> Progress | Wait:
        by_http = order.challenge == "http-01" and bool(order.challenges)
        if by_http and not self._plane().routes.answer(row.id, order.listener_ids):
            if now - max(row.updated_at, self._began) < _ACCEPT:
                return Wait(_SOON)
            troubles = [t for listener in order.listener_ids for t in self._plane().troubles(listener)]
            raise AttemptFailed(f"Envoy does not answer the challenge yet{_because(troubles)}")
        for answer in order.challenges if order.challenge == "dns-01" else ():
            self._dns().run("present", answer.host, answer.answer)
        for answer in order.challenges:
            challenge = _offered(ca.authorization(answer.authorization), order.challenge)
            if challenge.status == "pending":
                ca.respond(answer.url)
        return Progress(_entered(order, "validating"))

    def _finalize(self, ca: Ca, row: Row, order: Order, present: CaOrder) -> Progress | None:
        key = self._store.secret(row.id, KEY)
        if key is None:
            raise AttemptFailed("The key of the certificate under way is lost")
        if present.status == "ready":
            ca.finalize(present.finalize, _request(order.names, key))
        if present.status != "valid":
            return None
        done = Delivery(ca.certificate(present.certificate), key)
        return Progress(_ended(order, failures=0, error=""), {KEY: None}, done)

    def _failed(self, order: Order, now: datetime, sentence: str, wait: timedelta | None = None) -> Progress:
        failures = order.failures + 1
        try:
            self._clean_up(order)
        except HookError as error:
            sentence = f"{sentence}. Also, {error}"
        at = schedule.after_failure(now, failures, wait)
        reason = "the CA asks to wait" if wait is not None else "the last attempt failed"
        return Progress(_ended(order, failures=failures, error=sentence, next_at=at, reason=reason), {KEY: None})

    def _clean_up(self, order: Order) -> None:
        for answer in order.challenges if order.challenge == "dns-01" else ():
            self._dns().run("cleanup", answer.host, answer.answer)

    def _why(self, ca: Ca, present: CaOrder) -> str:
        """Return the CA's reasons for an invalid order: those of its challenges, else its own."""
        reasons = [
            f"{authorization.identifier.value}: {challenge.error.sentence}"
            for authorization in map(ca.authorization, present.authorizations[:10])
            for challenge in authorization.challenges
            if challenge.error is not None
        ]
        return "; ".join(reasons) or (present.error.sentence if present.error else "The CA rejected the order")

    @contextmanager
    def _connected(self, row: Row, order: Order) -> Iterator[Ca]:
        """Lend a connection to the CA of an order, with an account there. After an error it is not used again."""
        issuer_row = self._store.snapshot.get("issuer", order.issuer_id)
        key = self._store.secret(order.issuer_id, ACCOUNT)
        if issuer_row is None or key is None:
            raise AttemptFailed("The issuer of the order is gone")
        issuer, now = issuer_of(issuer_row), self._store.now()
        idle = self._idle.setdefault((issuer_row.id, issuer_row.revision), [])
        made, ca = idle.pop() if idle else (now, None)
        if ca is None or now - made > _KEPT:
            made, ca = now, self._connect(issuer, key)
        if not issuer.account:
            url = ca.register(self._store.secret(order.issuer_id, EAB))
            self._transact(row.project_id, lambda t: _store_account(t, order.issuer_id, url))
        yield ca
        idle.append((made, ca))

    def _present(self, order: Order) -> Chain | None:
        """Return the present content of the order's certificate."""
        row = self._store.snapshot.get("certificate", order.certificate_id)
        return row.content.chain if row is not None and row.content is not None else None

    def _dns(self) -> DnsHook:
        if self._hook is None:
            raise AttemptFailed("dns-01 needs a hook program: set dns_hook of the ELB")
        return self._hook

    def _commit(self, row: Row, change: Progress) -> None:
        """Store a step, unless another process or a user changed the order meanwhile."""

        def decide(transaction: Transaction) -> None:
            present = transaction.snapshot.get("order", row.id)
            if present is None or present.revision != row.revision:
                return
            order = change.order
            if change.delivery is not None:
                certificate_id = self._deliver(transaction, order, change.delivery)
                written = transaction.snapshot.get("certificate", certificate_id)
                assert written is not None
                assert written.content is not None
                at, reason = schedule.renewal(written.content.chain, None)
                order = replace(order, certificate_id=certificate_id, next_at=at, reason=reason)
            transaction.update(present, data_of(order))
            transaction.secrets |= {(row.id, name): secret for name, secret in change.secrets.items()}

        self._transact(row.project_id, decide)
        _log.info("order", names=change.order.name, state=change.order.state, error=change.order.error or None)

    def _withdraw(self, row: Row) -> None:
        """Delete the order of a deleted certificate."""
        try:
            self._clean_up(order_of(row))
        except HookError as error:
            _log.warning("challenge not cleaned up", reason=str(error))

        def decide(transaction: Transaction) -> None:
            present = transaction.snapshot.get("order", row.id)
            if present is not None:
                transaction.delete(present)
                transaction.secrets[row.id, KEY] = None

        self._transact(row.project_id, decide)

    def _transact(self, project_id: str, decide: Callable[[Transaction], None]) -> None:
        actor = Actor(user_id="", name=USER, role="member", project_id=project_id)
        self._store.transact(actor, uuid.uuid4().hex, decide)


def challenge_listeners(snapshot: StoreSnapshot, project_id: str) -> tuple[str, ...]:
    """Return the ids of the project's listeners that answer HTTP-01 challenges."""
    return tuple(
        row.id
        for row in snapshot.find("listener", project, project_id)
        if row.data["protocol"] == "HTTP"
        and row.data["protocol_port"] == 80
        and row.data["admin_state_up"] is not False
    )


def new_account_key() -> PrivateKey:
    """Return a new key for an account: P-256, which every CA accepts."""
    return _new_key("P-256")


def _entered(order: Order, state: OrderState, **fields: object) -> Order:
    return replace(order, state=state, next_at=None, troubles=0, error="", **fields)


def _ended(order: Order, **fields: object) -> Order:
    none = {"url": "", "challenges": (), "listener_ids": (), "started_at": None, "troubles": 0}
    return replace(order, state="waiting", **none, **fields)


def _store_account(transaction: Transaction, issuer_id: str, url: str) -> None:
    row = transaction.snapshot.get("issuer", issuer_id)
    if row is not None:
        transaction.update(row, {**row.data, "account": url})


def _answer(ca: Ca, order: Order, url: str, authorization: Authorization) -> ChallengeAnswer:
    host = authorization.identifier.value.lower()
    if host not in {name.removeprefix("*.") for name in order.names}:
        raise AttemptFailed(f"The CA asks to validate {host[:100]}, which is not in the order")
    if authorization.status != "pending":
        raise AttemptFailed(f"The CA's authorization of {host} is {authorization.status[:20]}")
    challenge = _offered(authorization, order.challenge)
    text = ca.key_authorization(challenge.token)
    if order.challenge == "dns-01":
        text = urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return ChallengeAnswer(host=host, token=challenge.token, answer=text, authorization=url, url=challenge.url)


def _offered(authorization: Authorization, kind: str) -> CaChallenge:
    for challenge in authorization.challenges:
        if challenge.type == kind:
            return challenge
    raise AttemptFailed(f"The CA offers no {kind} for {authorization.identifier.value[:100]}")


def _new_key(kind: KeyType) -> PrivateKey:
    curve = _CURVES.get(kind)
    made = ec.generate_private_key(curve()) if curve else rsa.generate_private_key(65537, int(kind[4:]))
    return PrivateKey(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "")


def _request(names: Iterable[str], key: PrivateKey) -> bytes:
    """Return a certificate signing request (DER)."""
    loaded = load_pem_private_key(key.reveal().encode(), None)
    alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(alternative, critical=False)
    return builder.sign(loaded, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def _poll(age: timedelta, wait: timedelta | None) -> float:
    """Return the seconds until the next look: a quarter of the time spent, or what the CA asks for."""
    asked = wait.total_seconds() if wait else 0.0
    return max(min(asked, 60.0), min(max(age.total_seconds() / 4, _SHORTEST_POLL), _LONGEST_POLL))


def _because(sentences: list[str]) -> str:
    return f": {sentences[0]}" if sentences else " within a minute"
