"""Jinja templates, their filters, and the values that every page receives.

Templates get plain values: no request and no session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from certferry import __version__
from certferry.console.web import formatting
from certferry.console.web.formatting import Badge
from certferry.console.web.forms import path
from certferry.core.plural import counted
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import listed

TEMPLATES: Final = Path(__file__).parent.parent / "templates"
_LIMITS: Final = Limits()


class PageFrame(msgspec.Struct, frozen=True, kw_only=True):
    """Values that the layout shows around a page. Each field is a variable of every template."""

    here: str
    """Path of the page."""
    theme: str = ""
    user: str = ""
    """Name of the user; "" if not logged in."""
    csrf: str = ""
    fragment: bool = False
    """The console's script asks for the main part alone."""
    messages: tuple[str, ...] = ()
    """Results of the last form, shown once."""
    query: Mapping[str, str] = {}
    namespace: str = ""
    cluster: Any = None
    """The page's cluster: ``ClusterContext``."""
    can_edit: bool = False
    is_admin: bool = False
    health: Badge | None = None
    """The most severe state of the cluster's hosts; None without a cluster that is read."""
    live: str = ""
    """Path of the page's event stream; "" if it has none."""


class Templates:
    """The templates, compiled once."""

    def __init__(self, limits: Limits = _LIMITS) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "age": formatting.age,
            "ago": formatting.ago,
            "breakable": _breakable,
            "clock": formatting.clock,
            "common": formatting.common_name,
            "expiry": partial(formatting.expiry, limits=limits),
            "fingerprint": formatting.fingerprint,
            "instant": formatting.instant,
            "listed": listed,
            "until": partial(formatting.until, limits=limits),
        }
        self._templates.globals |= {"path": path, "pairs": _pairs, "plural": counted, "release": __version__}

    def render(self, template: str, frame: PageFrame, context: Mapping[str, Any], status: int = 200) -> Response:
        """Return the page as a response; a value of `context` overrides one of `frame`."""
        values = {**msgspec.structs.asdict(frame), **context}
        return HTMLResponse(self._templates.get_template(template).render(values), status)


def _breakable(name: str) -> Markup:
    """Allow a line break after each underscore and dot of a long name."""
    return Markup("_<wbr>").join(Markup(".<wbr>").join(part.split(".")) for part in name.split("_"))


def _pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    """Return (value, label) pairs of options whose labels are their values."""
    return [(value, value) for value in values]
