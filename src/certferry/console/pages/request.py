"""One request of a logged-in user: session, cluster, form, and the response to it. Also the table entry of a page.

``PageRequest.cluster_context`` checks the user's role; no page reads a cluster before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from certferry.clusters import ClusterAccess
from certferry.console.judge.health import host_places, overall
from certferry.console.state.cluster_view import ClusterContext, DerivedCache, DerivedState
from certferry.console.state.console import Console
from certferry.console.state.elb_sites import ElbLogin, key_of, role_of
from certferry.console.state.rotations import TrackedRotation
from certferry.console.state.sessions import Session
from certferry.console.web.errors import LoginRequired, PageError, forbidden, not_found
from certferry.console.web.forms import FormFields, json, path, read_form
from certferry.console.web.templating import PageFrame
from certferry.core.diagnosis.usage import Use
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.settings import UserError

ALL: Final = ""
"""Value of the namespace selector for all namespaces."""


class PageRequest:
    """A request, its session, and the cluster in its path."""

    def __init__(self, console: Console, http: Request, session: Session, required_role: str) -> None:
        self.console, self.http, self.session = console, http, session
        self.required_role = required_role
        """Lowest role that may make this request."""
        self._form: FormFields | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query; the last value of a repeated key."""
        return dict(self.http.query_params)

    @property
    def is_fragment(self) -> bool:
        """True if the console's script asks; it takes a part of a page, or JSON."""
        return "x-fragment" in self.http.headers

    def part(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.http.path_params[name])

    @property
    def namespace(self) -> str:
        """The namespace chosen in the selector; ``ALL`` for all."""
        return self.query.get("namespace", ALL)

    async def form(self) -> FormFields:
        """Read the posted form once. Raises ``FormErrors``."""
        if self._form is None:
            self._form = await read_form(self.http)
        return self._form

    def login(self, site: str) -> ElbLogin:
        """Return the user's login at an ELB. Raises ``LoginRequired``."""
        login = self.session.logins.get(site)
        if login is None:
            raise LoginRequired(site)
        return login

    def access(self, name: str) -> ClusterAccess:
        """Return the settings of a cluster. Raises ``PageError`` if there is none of this name."""
        access = next((c for c in self.console.fleet.clusters if c.name == name), None)
        if access is None:
            raise not_found(f"cluster “{name}” in the settings", ("/clusters", "Clusters"))
        return access

    def context_of(self, access: ClusterAccess) -> ClusterContext:
        """Return a cluster as this user sees it. Raises ``LoginRequired``, or ``PageError`` without access."""
        site = self.console.sites[key_of(access)]
        login = self.login(site.key)
        feeds = self.console.feeds
        try:
            kube = feeds.kube(access, login.role)  # type: ignore[arg-type]
        except (UserError, KubeconfigError) as error:
            raise PageError(403, "No access", str(error), ("/clusters", "Clusters")) from None
        elb = feeds.elb(self.session, site, login)
        if elb.refused:
            self.session.logins.pop(site.key, None)
            raise LoginRequired(site.key)
        if elb.roles is not None:
            role = role_of(elb.roles, self.console.settings.role_names)
            if role != login.role:
                self.session.logins[site.key] = msgspec.structs.replace(login, role=role)
                return self.context_of(access)
        cache = self.session.derived.setdefault(access.name, DerivedCache())
        return ClusterContext(access, login, kube, elb, feeds.probes, cache)

    async def cluster_context(self) -> ClusterContext:
        """Return the cluster in the path once it is read.

        Raises ``PageError`` if it is not reachable or the role is too low.
        """
        cluster = self.context_of(self.access(self.part("cluster")))
        self.http.state.cluster = cluster  # for the navigation, also of an error page
        if not cluster.may(self.required_role):
            raise forbidden(cluster.role, self.required_role)
        if not await cluster.ready():
            if cluster.elb.refused:
                raise LoginRequired(cluster.login.site)
            sentence = cluster.error or "It does not answer in time."
            link = (str(self.http.url.path), "Try again")
            raise PageError(503, f"{cluster.name} is not reachable", sentence, link)
        return cluster

    def track(
        self,
        cluster: ClusterContext,
        rotation: TrackedRotation,
        uses: Callable[[DerivedState], Iterable[Use]],
        objection: Callable[[DerivedState], str] = lambda derived: "",
    ) -> str:
        """Start to track `rotation`; return the path of its page."""
        self.console.rotations.start(cluster, rotation, uses, objection)
        return path("clusters", cluster.name, "rotations", rotation.id)

    def render(self, template: str, **context: Any) -> Response:
        """Return a page, or the part of it that the script asked for."""
        messages: list[str] = []
        if not self.is_fragment:  # a fragment shows no messages
            messages, self.session.messages = self.session.messages, []
        frame = page_frame(self.http, self.session, messages)
        return self.console.templates.render(template, frame, context)

    def redirect(self, to: str, message: str = "") -> Response:
        """Lead to `to` after a form was carried out, and show `message` there."""
        if message:
            self.session.messages.append(message)
        if self.is_fragment:
            return json({"go": to})
        return RedirectResponse(to, 303)


Handler = Callable[[PageRequest], Awaitable[Response]]
ClusterHandler = Callable[[PageRequest, ClusterContext], Awaitable[Response]]


class Page(NamedTuple):
    """A path, its GET and POST handlers, and the lowest role for each."""

    path: str
    show: Handler | None
    submit: Handler | None = None
    view_role: str = "reader"
    edit_role: str = "member"


def cluster_page(
    path: str,
    show: ClusterHandler | None,
    submit: ClusterHandler | None = None,
    view_role: str = "reader",
    edit_role: str = "member",
) -> Page:
    """Return a page below ``/clusters/{cluster}``; its handlers get the cluster once it is read."""

    def opened(handler: ClusterHandler | None) -> Handler | None:
        if handler is None:
            return None

        async def handle(request: PageRequest) -> Response:
            return await handler(request, await request.cluster_context())

        return handle

    return Page(f"/clusters/{{cluster}}{path}", opened(show), opened(submit), view_role, edit_role)


def page_frame(http: Request, session: Session | None, messages: list[str] | None = None) -> PageFrame:
    """Return the values around a page for this request, with the cluster that it opened."""
    cluster: ClusterContext | None = getattr(http.state, "cluster", None)
    theme = http.cookies.get("theme", "")
    return PageFrame(
        here=http.url.path,
        theme=theme if theme in ("light", "dark") else "",
        user=session.user if session else "",
        csrf=session.csrf if session else "",
        fragment="x-fragment" in http.headers,
        messages=tuple(messages or ()),
        query=dict(http.query_params),
        namespace=http.query_params.get("namespace", ALL),
        cluster=cluster,
        can_edit=cluster is not None and cluster.may("member"),
        is_admin=cluster is not None and cluster.may("admin"),
        health=overall(host_places(cluster)) if cluster and cluster.kube.ready and cluster.elb.ready else None,
    )
