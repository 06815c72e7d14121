"""A user at a browser: a window, their actions, and the errors and requests of the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.support.certs import Pair

WAIT = 15_000
"""Milliseconds that a thing may take to appear."""

expect.set_options(timeout=WAIT)


class User:
    """One window, with cookies of its own."""

    def __init__(self, browser: Browser, url: str, theme: str = "light") -> None:
        scheme = cast(Literal["light", "dark"], theme)
        self.url = url
        self.context = browser.new_context(base_url=url, color_scheme=scheme, viewport={"width": 1280, "height": 900})
        self.context.set_default_timeout(WAIT)
        self.page: Page = self.context.new_page()
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))

    def log_in(self, name: str, password: str) -> None:
        self.page.goto("/login")
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name="Clusters", exact=True)).to_be_visible()

    def check(self) -> None:
        """Nothing must have left the host, and no rule of the page was broken."""
        errors, self.errors = self.errors, []
        assert self.elsewhere == []
        # the browser also reports expected 4xx responses there
        assert [t for t in errors if "the server responded with a status of 4" not in t] == []

    # -- what a person does

    def choose(self, *links: str) -> None:
        """Click links one after the other."""
        for link in links:
            self.page.get_by_role("link", name=link, exact=True).first.click()
            self.page.wait_for_load_state()

    def row(self, text: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=text)

    @property
    def dialog(self) -> Locator:
        """The topmost one."""
        return self.page.get_by_role("dialog").last

    def paste(self, pair: Pair, *, key: bool = True) -> None:
        """Into the fields of the topmost dialog."""
        self.dialog.get_by_role("textbox", name="Certificate").last.fill(pair.certificate)
        if key:
            self.dialog.get_by_role("textbox", name="Private Key").fill(pair.key)

    def upload(self, folder: Path, pair: Pair) -> None:
        """The same by files."""
        for name, text, field in (("tls.crt", pair.certificate, "certificate"), ("tls.key", pair.key, "private_key")):
            (folder / name).write_text(text)
            self.dialog.locator(f"input[type=file][name={field}_file]").set_input_files(folder / name)

    def ok(self, name: str = "OK") -> None:
        self.dialog.get_by_role("button", name=name, exact=True).click()

    def post(self, path: str, **fields: str) -> Any:
        """A POST by hand, with the session's cookie and its form token."""
        token = self.page.locator('meta[name="csrf"]').get_attribute("content") or ""
        return self.context.request.post(path, form={"csrf": token, **fields}, max_redirects=0)

    def get(self, path: str) -> Any:
        return self.context.request.get(path, max_redirects=0)

    def violations(self) -> list[str]:
        """What axe finds wrong with the page as it is."""
        found = Axe().run(self.page)
        return [
            f"{v['id']}: {v['help']}: {[n['target'] for n in v['nodes']][:4]}" for v in found.response["violations"]
        ]

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.elsewhere.append(request.url)
