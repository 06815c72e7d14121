"""One request of somebody who is logged in: whom they are, what they look at, and how to answer.

Every page's function gets a ``Visit``. It renders, redirects and refuses; it knows no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from certferry.clusters import ClusterAccess
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.state.elb_sites import ElbLogin, key_of, role_of
from certferry.console.state.sessions import Session
from certferry.console.web.errors import FormErrors, LoginRequired, PageError, forbidden, not_found
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.settings import UserError

if TYPE_CHECKING:
    from certferry.console.app import Console

ALL: Final = ""
"""The namespace selector's “all namespaces”."""
MAX_FIELD: Final = 512 * 1024
"""Bytes of one field of a form."""


class PageRequest:
    """A request, its session, and the cluster it is about (if its path names one)."""

    def __init__(self, console: Console, request: Request, session: Session) -> None:
        self.console, self.request, self.session = console, request, session
        self.required_role = "reader"
        """The least role for what is asked; ``app`` sets it."""
        self._form: dict[str, list[str]] | None = None

    # -- what was asked

    @property
    def query(self) -> dict[str, str]:
        """The query; of a key that stands twice the last."""
        return dict(self.request.query_params)

    @property
    def is_fragment(self) -> bool:
        """Whether our script asks, which wants a part of a page, or JSON."""
        return "x-fragment" in self.request.headers

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    @property
    def namespace(self) -> str:
        """The namespace chosen in the selector; ``ALL`` for all."""
        return self.query.get("namespace", ALL)

    async def form(self) -> FormFields:
        """The fields of the posted form; files are read."""
        if self._form is None:
            data = await self.request.form(max_part_size=MAX_FIELD, max_fields=2_000, max_files=20)
            self._form = await _fields(data)
        return FormFields(self._form)

    # -- whom they are and what they see

    def login(self, site: str) -> ElbLogin:
        """Who they are at an ELB. Raises ``LoginNeeded``."""
        found = self.session.logins.get(site)
        if found is None:
            raise LoginRequired(site)
        return found

    def cluster(self, name: str) -> ClusterAccess:
        """A cluster of the settings. Raises ``Stop``."""
        found = next((c for c in self.console.fleet.clusters if c.name == name), None)
        if found is None:
            raise not_found(f"cluster “{name}” in the settings", ("/clusters", "Clusters"))
        return found

    def desk_of(self, cluster: ClusterAccess) -> ClusterContext:
        """Raises ``LoginNeeded``, and ``Stop`` where the role has no way in."""
        site = self.console.sites[key_of(cluster)]
        login = self.login(site.key)
        feeds = self.console.feeds
        try:
            kube = feeds.kube(cluster, login.role)  # type: ignore[arg-type]
        except (UserError, KubeconfigError) as refusal:
            raise PageError(403, "No access", str(refusal), ("/clusters", "Clusters")) from None
        elb = feeds.elb(self.session, site, login)
        if elb.refused:
            self.session.logins.pop(site.key, None)
            raise LoginRequired(site.key)
        if elb.roles is not None:
            now = role_of(elb.roles, self.console.settings.role_names)
            if now != login.role:
                self.session.logins[site.key] = msgspec.structs.replace(login, role=now)
                return self.desk_of(cluster)
        return ClusterContext(cluster, login, kube, elb, feeds.sights, self.session.derived)

    async def cluster_context(self) -> ClusterContext:
        """The cluster in the path, once it is known. Raises ``Stop`` when it cannot be or the role is too low."""
        desk = self.desk_of(self.cluster(self.part("cluster")))
        self.request.state.desk = desk  # whatever stops the page keeps the cluster's navigation
        if not desk.may(self.required_role):
            raise forbidden(desk.role, self.required_role)
        if not await desk.ready():
            if desk.elb.refused:
                raise LoginRequired(desk.login.site)
            sentence = desk.trouble or "It does not answer in time."
            raise PageError(
                503, f"{desk.name} is not reachable", sentence, (str(self.request.url.path), "Try again")
            )
        return desk

    # -- how to answer

    def render(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page, or the part that our script asked for."""
        return self.console.pages.render(self, template, status, context)

    def redirect(self, where: str, said: str = "", **more: Any) -> Response:
        """The form was carried out: show `where` next, and say so there."""
        if said:
            self.session.said.append(said)
        if self.is_fragment:
            return json({"go": where, **more})
        return RedirectResponse(where, 303)


class FormFields:
    """Fields as text. A file stands for the field of its name without ``_file`` when that is empty."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """The field's text without space around it; "" when there is none."""
        given = [v for v in self._fields.get(name, []) + self._fields.get(f"{name}_file", []) if v.strip()]
        return given[0].strip() if given else ""

    def exact(self, name: str) -> str | None:
        """The text as it came; None when the field is not there."""
        given = self._fields.get(name)
        return given[0] if given else None

    def all(self, name: str) -> list[str]:
        """Every value of a field that may stand several times, in order."""
        return [value.strip() for value in self._fields.get(name, [])]

    def number(self, name: str, low: int, high: int, errors: dict[str, str]) -> int | None:
        """A whole number; None when the field is empty. What is wrong goes into `errors`."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isdecimal() and text.isascii() and len(text) < 10 and low <= int(text) <= high):
            errors[name] = f"A whole number from {low} to {high}."
            return None
        return int(text)

    def __repr__(self) -> str:
        return f"FormFields({sorted(self._fields)})"


def json(body: Any, status: int = 200) -> Response:
    """For our script."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def refuse(errors: dict[str, str]) -> None:
    """Raises ``Refusal`` when there are errors."""
    if errors:
        raise FormErrors(errors)


def path(*parts: str) -> str:
    """A path of quoted parts."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


async def _fields(data: FormData) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            content = await value.read(MAX_FIELD + 1)
            if len(content) > MAX_FIELD:
                raise FormErrors({name.removesuffix("_file"): "The file is too large."})
            try:
                text = content.decode()
            except UnicodeDecodeError:
                raise FormErrors({name.removesuffix("_file"): "The file is not text in PEM form."}) from None
        else:
            text = value
        found.setdefault(name, []).append(text.replace("\r\n", "\n"))
    return found
