"""Every variable of a template comes from the frame or from the page that renders it."""

from __future__ import annotations

import ast
from pathlib import Path

import jinja2
import msgspec
import pytest
from jinja2 import meta, nodes

import certferry.console
from certferry.console.web.templating import PageFrame, Templates

PAGES = Path(certferry.console.__file__).parent
ENVIRONMENT: jinja2.Environment = Templates()._templates
FRAME = {field.name for field in msgspec.structs.fields(PageFrame)} | ENVIRONMENT.globals.keys()
SPREAD = {
    "secrets",
    "certificates",
    "sni_certificates",
    "policies",
    "access_modes",
    "ipgroups",
    "path_types",
    "services",
}
"""Given by ``pages.ingresses.update.choices``."""
IMPORTED = {"parts", "links", "sni_row", "forwarding_row", "root"}
"""Macros, and a variable that is set only for a cluster."""


def rendered() -> list[tuple[str, frozenset[str]]]:
    """Return each template name in a ``render`` call of the source, and the names that the call gives."""
    calls = []
    for file in PAGES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "render"
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and file.name not in ("app.py", "login.py")
            ):
                names = {k.arg for k in node.keywords if k.arg}
                spread = SPREAD if any(k.arg is None for k in node.keywords) else set()
                calls.append((str(node.args[0].value), frozenset(names | spread)))
    return calls


def used(template: str) -> set[str]:
    """Return the variables of a template and of all that it includes, imports or extends."""
    assert ENVIRONMENT.loader
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, template)
    tree = ENVIRONMENT.parse(source)
    names = meta.find_undeclared_variables(tree)
    own = {target.name for target in tree.find_all(nodes.Name) if target.ctx in ("store", "param")}
    for other in meta.find_referenced_templates(tree):
        assert other
        names |= used(other) - own
    return names - IMPORTED


@pytest.mark.parametrize(("template", "given"), rendered())
def test_a_template_uses_only_what_its_page_gives(template: str, given: frozenset[str]) -> None:
    assert used(template) - given - FRAME == set()
