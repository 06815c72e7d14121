"""Every page of the console, for ``app``."""

from __future__ import annotations

from itertools import chain
from typing import Final

from certferry.console import clusters, live, rotation_page, secret_list, secret_update
from certferry.console.routes import Page

PAGES: Final[tuple[Page, ...]] = tuple(
    chain(
        clusters.PAGES,
        live.PAGES,
        secret_list.PAGES,
        secret_update.PAGES,
        rotation_page.PAGES,
    )
)
