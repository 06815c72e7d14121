"""Templates and what all of them are given. ``Visit.render`` calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from certferry import __version__
from certferry.console.state.elb_sites import RANKS
from certferry.console.state.sessions import Session
from certferry.console.web import formatting as words
from certferry.console.web.errors import PageError
from certferry.console.web.request import PageRequest, path
from certferry.core.x509.pem import listed

if TYPE_CHECKING:
    from certferry.console.app import Console

TEMPLATES: Final = Path(__file__).parent.parent / "templates"


class Templates:
    """The templates, compiled once."""

    def __init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "age": words.age,
            "breakable": _breakable,
            "clock": words.clock,
            "common": words.common,
            "expiry": words.expiry,
            "fingerprint": words.fingerprint,
            "instant": words.instant,
            "listed": listed,
            "until": words.until,
        }
        self._templates.globals |= {"path": path, "pairs": _pairs, "release": __version__}

    def render(self, visit: PageRequest, template: str, status: int, context: Mapping[str, Any]) -> Response:
        """A page for somebody who is logged in."""
        said, visit.session.said = visit.session.said, []
        if visit.is_fragment:  # a part of a page does not tell it
            visit.session.said, said = said, []
        desk = context.get("desk")
        given = _common(visit.request, visit.session) | {
            "visit": visit,
            "fragment": visit.is_fragment,
            "said": said,
            "query": visit.query,
            "namespace": visit.namespace,
            "can_edit": bool(desk and desk.may("member")),
            "is_admin": bool(desk and desk.may("admin")),
        }
        return self._page(template, status, given | dict(context))

    def stopped(
        self, console: Console, request: Request, session: Session | None, stop: PageError
    ) -> Response:
        """What is shown instead of a page."""
        given = _common(request, session) | {
            "desk": getattr(request.state, "desk", None),
            "stop": stop,
            "fragment": "x-fragment" in request.headers,
            "said": [],
            "query": {},
            "namespace": "",
            "can_edit": False,
            "is_admin": False,
        }
        return self._page("account/error.html", stop.status, given)

    def bare(self, request: Request, template: str, status: int, **context: Any) -> Response:
        """A page for somebody who is not logged in."""
        given = _common(request, None) | {"fragment": False, "said": []}
        return self._page(template, status, given | context)

    def _page(self, template: str, status: int, context: Mapping[str, Any]) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(context), status)


def _breakable(name: str) -> Markup:
    """A long name that a line may break after an underscore of, rather than anywhere."""
    return Markup("_<wbr>").join(name.split("_"))


def _pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    """Options of a list whose labels are their values."""
    return [(value, value) for value in values]


def _common(request: Request, session: Session | None) -> dict[str, Any]:
    theme = request.cookies.get("theme", "")
    return {
        "session": session,
        "csrf": session.csrf if session else "",
        "theme": theme if theme in ("light", "dark") else "",
        "here": request.url.path,
        "desk": None,
        "ranks": RANKS,
        "live": "",
    }
