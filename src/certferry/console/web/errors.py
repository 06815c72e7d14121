"""How a page ends early: a status, a title and a sentence, with a way on. ``app`` shows it."""

from __future__ import annotations


class PageError(Exception):
    """An answer other than the page that was asked for."""

    def __init__(self, status: int, title: str, sentence: str, link: tuple[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.title, self.sentence = status, title, sentence
        self.link = link
        """(where, label)."""


class LoginRequired(Exception):
    """Nobody is logged in, or not at the ELB named `site`."""

    def __init__(self, site: str = "") -> None:
        super().__init__(site)
        self.site = site


class FormErrors(Exception):
    """A form that cannot be carried out: sentences by field; "" is for the form as a whole."""

    def __init__(self, errors: dict[str, str], status: int = 422) -> None:
        super().__init__(next(iter(errors.values()), ""))
        self.errors, self.status = errors, status


def not_found(what: str, link: tuple[str, str] | None = None) -> PageError:
    """404."""
    return PageError(404, "Not found", f"There is no {what}. It may have been deleted meanwhile.", link)


def forbidden(role: str, needed: str) -> PageError:
    """403: the role does not allow it."""
    return PageError(403, "Not allowed", f"Your role is {role}; this needs {needed}.")
