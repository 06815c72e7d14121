"""Exceptions that end a page early: an error page, a login, sentences beside form fields."""

from __future__ import annotations


class PageError(Exception):
    """A status, title and sentence to show instead of the page."""

    def __init__(self, status: int, title: str, sentence: str, link: tuple[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.title, self.sentence = status, title, sentence
        self.link = link
        """(path, label) of the next page; None: the clusters."""


class LoginRequired(Exception):
    """The user is not logged in, or not at the ELB `site`."""

    def __init__(self, site: str = "") -> None:
        super().__init__(site)
        self.site = site


class FormErrors(Exception):
    """Sentences by form field that cannot be accepted; "" is the whole form."""

    def __init__(self, errors: dict[str, str], status: int = 422) -> None:
        super().__init__(next(iter(errors.values()), ""))
        self.errors, self.status = errors, status


def not_found(what: str, link: tuple[str, str] | None = None) -> PageError:
    """Return a 404 error: there is no `what`."""
    return PageError(404, "Not found", f"There is no {what}. It may have been deleted.", link)


def forbidden(role: str, needed: str) -> PageError:
    """Return a 403 error: the role is too low."""
    return PageError(403, "Not allowed", f"Your role is {role}; this needs {needed}.")
