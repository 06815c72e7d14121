"""A CA as an ACME server: one method per request, with the account's key.

Answers are bounded before they are parsed, and only fields that we use are read. Errors carry the CA's own sentence.
"""

from __future__ import annotations

import email.utils
import logging
import re
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
from acme import client, errors, messages
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy import b64, jwa
from josepy.interfaces import JSONDeSerializable
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey
from requests.adapters import HTTPAdapter

from certferry import __version__
from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.acme.model import Issuer
from certferry.elb.server.acme.schedule import Window

T = TypeVar("T", bound=msgspec.Struct)
_TIMEOUT: Final = (5, 20)
"""Seconds to connect, and between two parts of an answer."""
_LARGEST: Final = 1 << 20
"""Bytes of an answer."""
_NONCES: Final = 20
"""Attempts of one request while the CA rejects its nonces."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,512}")
_LONGEST: Final = 600
"""Characters of a CA's sentence."""
# It logs whole requests and answers at level debug.
logging.getLogger("acme.client").setLevel(logging.INFO)


class CaError(Exception):
    """A refusal of the CA: its type (such as ``rateLimited``), its sentence, and its Retry-After."""

    def __init__(self, kind: str, sentence: str, retry_after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.retry_after = retry_after


class CaUnavailable(Exception):
    """The CA did not answer, or not as a CA: the same request may succeed later."""

    def __init__(self, sentence: str, retry_after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retry_after = retry_after


class Problem(msgspec.Struct, frozen=True):
    """An error document (RFC 7807, RFC 8555 6.7)."""

    type: str = ""
    detail: str = ""
    identifier: Mapping[str, str] = {}
    subproblems: tuple[Problem, ...] = ()

    @property
    def kind(self) -> str:
        """The last part of its type."""
        return self.type.rpartition(":")[2]

    @property
    def sentence(self) -> str:
        """The CA's words, on one line."""
        named = [f"{p.identifier.get('value', '')}: {p.detail}" for p in self.subproblems[:5] if p.detail]
        text = "; ".join([self.detail or self.kind or "no reason given", *named])
        return _CONTROL.sub(" ", text)[:_LONGEST]


class CaOrder(msgspec.Struct, frozen=True):
    """An order at the CA."""

    status: str
    authorizations: tuple[str, ...] = ()
    finalize: str = ""
    certificate: str = ""
    error: Problem | None = None


class CaChallenge(msgspec.Struct, frozen=True):
    """A challenge that the CA offers."""

    type: str
    url: str = ""
    status: str = "pending"
    token: str = ""
    error: Problem | None = None


class CaIdentifier(msgspec.Struct, frozen=True):
    """A name to validate."""

    value: str
    type: str = "dns"


class Authorization(msgspec.Struct, frozen=True):
    """The validation of one name."""

    status: str
    identifier: CaIdentifier
    challenges: tuple[CaChallenge, ...] = ()


class _Window(msgspec.Struct, frozen=True):
    start: datetime
    end: datetime


class _RenewalInfo(msgspec.Struct, frozen=True):
    suggested_window: _Window = msgspec.field(name="suggestedWindow")


class _Meta(msgspec.Struct, frozen=True):
    profiles: Mapping[str, str] = {}


class _Directory(msgspec.Struct, frozen=True, rename="camel"):
    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str = ""
    meta: _Meta = _Meta()


class Ca:
    """Requests to the CA of an issuer, one at a time. Methods raise CaError and CaUnavailable."""

    def __init__(self, issuer: Issuer, key: PrivateKey) -> None:
        self._issuer = issuer
        loaded = load_pem_private_key(key.reveal().encode(), None)
        self._key = JWKEC(key=ComparableECKey(loaded))  # type: ignore[arg-type]
        self._network = _Network(self._key, issuer)
        if issuer.account:
            self._use(issuer.account)
        self._directory: _Directory | None = None

    def register(self, eab: PrivateKey | None) -> str:
        """Create the account, or find it, and return its URL."""
        body: dict[str, Any] = {"termsOfServiceAgreed": True}
        if self._issuer.email:
            body["contact"] = [f"mailto:{self._issuer.email}"]
        if eab is not None:
            directory = {"newAccount": self._where().new_account}
            body["externalAccountBinding"] = messages.ExternalAccountBinding.from_data(
                self._key.public_key(),
                self._issuer.eab_kid,
                eab.reveal(),
                directory,  # type: ignore[arg-type]
            )
        url = self._post(self._where().new_account, body).headers.get("Location", "")
        if not url:
            raise CaUnavailable("The CA named no account")
        self._use(url)
        return str(url)

    def place(self, names: Sequence[str], profile: str, replaces: str | None) -> str:
        """Place an order and return its URL. `replaces`: see ``ari_identifier``."""
        body: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        if profile:
            if profile not in self._where().meta.profiles:
                offered = ", ".join(sorted(self._where().meta.profiles)) or "none"
                raise CaError("invalidProfile", f"The CA offers no profile {profile}, but {offered}"[:_LONGEST])
            body["profile"] = profile
        if replaces and self._where().renewal_info:
            try:
                return self._located(body | {"replaces": replaces})
            except CaError as error:
                # The old certificate is replaced already, or the CA does not know it: then it is an order like others.
                if error.kind not in {"alreadyReplaced", "malformed", "unauthorized", "conflict"}:
                    raise
        return self._located(body)

    def order(self, url: str) -> tuple[CaOrder, timedelta | None]:
        """Return an order, and when to look again."""
        answer = self._post(url, None)
        return _parsed(answer, CaOrder), retry_after(answer.headers)

    def authorization(self, url: str) -> Authorization:
        """Return an authorization."""
        return _parsed(self._post(url, None), Authorization)

    def respond(self, url: str) -> None:
        """Tell the CA that the answer to the challenge at `url` is in place."""
        self._post(url, {})

    def finalize(self, url: str, csr: bytes) -> None:
        """Send the certificate signing request (DER)."""
        self._post(url, {"csr": b64.b64encode(csr).decode()})

    def certificate(self, url: str) -> str:
        """Return the issued chain as PEM."""
        return str(self._post(url, None).text)

    def window(self, identifier: str) -> tuple[Window | None, timedelta | None]:
        """Return when the CA suggests to renew a certificate, and when to ask again; None if it has no opinion."""
        base = self._where().renewal_info
        if not base:
            return None, None
        answer = self._network.fetch(f"{base.rstrip('/')}/{identifier}")
        window = _parsed(answer, _RenewalInfo).suggested_window
        if window.start.tzinfo is None or window.end.tzinfo is None:
            raise CaUnavailable("The CA's renewalInfo has instants without a zone")
        return Window(window.start.astimezone(UTC), window.end.astimezone(UTC)), retry_after(answer.headers)

    def key_authorization(self, token: str) -> str:
        """Return the answer to a token (RFC 8555, 8.1). Raises CaError for a text that is no token."""
        if not _TOKEN.fullmatch(token):
            raise CaError("malformed", "The CA's challenge has no usable token")
        return f"{token}.{b64.b64encode(self._key.thumbprint()).decode()}"

    def _located(self, body: Mapping[str, Any]) -> str:
        url = self._post(self._where().new_order, body).headers.get("Location", "")
        if not url:
            raise CaUnavailable("The CA named no order")
        return str(url)

    def _where(self) -> _Directory:
        if self._directory is None:
            self._directory = _parsed(self._network.fetch(self._issuer.directory), _Directory)
        return self._directory

    def _use(self, account: str) -> None:
        self._network.account = messages.RegistrationResource(body=messages.Registration(), uri=account)

    def _post(self, url: str, body: Mapping[str, Any] | None) -> requests.Response:
        return self._network.send(url, body, self._where().new_nonce)


class _Body(JSONDeSerializable):
    """A JSON object to sign."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def to_partial_json(self) -> Any:
        return dict(self._fields)

    @classmethod
    def from_json(cls, jobj: Any) -> _Body:
        return cls(jobj)


class _Network(client.ClientNetwork):
    """Signs requests and keeps nonces, with bounded answers and errors of our own."""

    def __init__(self, key: JWK, issuer: Issuer) -> None:
        super().__init__(key, alg=jwa.ES256, user_agent=f"certferry/{__version__}")
        self.session.mount("https://", _Adapter(issuer.ca_certificates))
        del self.session.adapters["http://"]

    def fetch(self, url: str) -> requests.Response:
        """GET a public document."""
        return self._checked(lambda: self.get(url))

    def send(self, url: str, body: Mapping[str, Any] | None, new_nonce_url: str) -> requests.Response:
        """POST a signed body, again while the CA rejects its nonce; None: POST-as-GET."""
        payload = None if body is None else _Body(body)
        for attempt in range(_NONCES):
            try:
                return self._checked(lambda: self._post_once(url, payload, new_nonce_url=new_nonce_url))
            except CaError as error:
                if error.kind != "badNonce" or attempt == _NONCES - 1:
                    raise
                self._nonces.clear()
        raise AssertionError

    def _checked(self, act: Any) -> requests.Response:
        try:
            answer: requests.Response = act()
        except (requests.RequestException, errors.Error, OSError) as error:
            raise CaUnavailable(f"The CA at {self._host(error)} does not answer as a CA: {_reason(error)}") from None
        return answer

    @staticmethod
    def _host(error: Exception) -> str:
        request = getattr(error, "request", None)
        return urlsplit(request.url).netloc if request is not None and request.url else "the directory"

    @classmethod
    def _check_response(cls, response: requests.Response, content_type: str | None = None) -> requests.Response:
        """Raise CaError for an error document, and CaUnavailable for another failure."""
        if response.ok:
            return response
        wait = retry_after(response.headers)
        try:
            problem = msgspec.json.decode(response.content, type=Problem)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise CaUnavailable(f"The CA answers with status {response.status_code}", wait) from None
        if problem.kind == "serverInternal" or response.status_code in {502, 503, 504}:
            raise CaUnavailable(f"The CA says: {problem.sentence}", wait)
        raise CaError(problem.kind, problem.sentence, wait)


class _Adapter(HTTPAdapter):
    """TLS with an issuer's own roots, and answers of bounded size."""

    def __init__(self, ca_certificates: str) -> None:
        self._context = ssl.create_default_context(cadata=ca_certificates or None)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        return super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the roots to the context; requests would add those of certifi."""

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs |= {"stream": True, "timeout": _TIMEOUT}
        response = super().send(request, *args, **kwargs)
        content = response.raw.read(_LARGEST + 1, decode_content=True)
        response.close()
        if len(content) > _LARGEST:
            raise requests.RequestException("its answer is too large", request=request)
        response._content, response._content_consumed = content, True
        return response


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return the Retry-After of an answer (seconds or a date, RFC 9110 10.2.3); None if there is none."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 9:
        return timedelta(seconds=int(text))
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(at - datetime.now(UTC), timedelta(0))


def _parsed(answer: requests.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CaUnavailable(f"An answer of the CA cannot be read: {error}"[:_LONGEST]) from None


def _reason(error: Exception) -> str:
    cause: Any = error
    while cause.args and isinstance(cause.args[0], Exception):
        cause = cause.args[0]
    cause = getattr(cause, "reason", None) or cause
    return _CONTROL.sub(" ", str(cause))[:_LONGEST]
