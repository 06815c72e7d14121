"""What a page module tells ``app`` of each of its pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.responses import Response

from certferry.console.web.request import PageRequest

Handler = Callable[[PageRequest], Awaitable[Response]]


class Page(NamedTuple):
    """A path, who shows it, who takes its form, and the least role for each."""

    path: str
    show: Handler | None
    submit: Handler | None = None
    view_role: str = "reader"
    edit_role: str = "member"
