"""View YAML and Edit YAML of any object: what changes is shown before it is saved.

The text of a Secret has placeholders for its values; one that is left alone keeps the value.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import yaml
from starlette.responses import PlainTextResponse, Response

from certferry.console.pages.objects.diff import KEPT, diff, readable, restored, text
from certferry.console.pages.objects.kinds import OpenedObject, open_object
from certferry.console.web.errors import FormErrors
from certferry.console.web.page import Page
from certferry.console.web.request import PageRequest, refuse
from certferry.core.model.managers import managers
from certferry.kube.client.client import KubeError


async def view(visit: PageRequest) -> Response:
    """GET …/yaml; ?download gives the file."""
    it = await open_object(visit)
    shown = text(readable(it.body))
    if "download" in visit.query:
        name = f"{it.kind.name.lower()}-{it.name.name}.yaml"
        return PlainTextResponse(shown, headers={"content-disposition": f'attachment; filename="{name}"'})
    return visit.render("objects/yaml.html", desk=it.desk, it=it, text=shown)


async def edit(visit: PageRequest) -> Response:
    """GET …/yaml/edit."""
    it = await open_object(visit)
    shown = text(readable(it.body))
    return visit.render(
        "objects/yaml_edit.html", desk=it.desk, it=it, text=shown, kept=KEPT, managers=managers(it.body)
    )


async def preview(visit: PageRequest) -> Response:
    """POST …/yaml/diff: what OK would change."""
    it = await open_object(visit)
    typed = (await visit.form()).exact("yaml") or ""
    errors: dict[str, str] = {}
    try:
        lines = diff(it.body, _whole(typed, it))
    except FormErrors as refusal:
        lines, errors = [], refusal.errors
    return visit.render(
        "objects/yaml_preview.html", desk=it.desk, lines=lines, errors=errors, seen=_seen(typed)
    )


async def save(visit: PageRequest) -> Response:
    """POST …/yaml/edit."""
    it = await open_object(visit)
    form = await visit.form()
    typed = form.exact("yaml") or ""
    whole = _whole(typed, it)
    if form.text("seen") != _seen(typed):
        refuse({"": "Look at the changes first: press “Show changes”."})
    try:
        async with it.desk.writing() as kube:
            await kube.replace(it.kind, whole, it.name.namespace)
    except KubeError as error:
        if error.status == 409:
            refuse({"": f"Somebody changed this {it.kind.name} meanwhile. Load the page again."})
        if 400 <= error.status < 500:
            refuse({"yaml": error.message})
        raise
    return visit.redirect(it.list, f"{it.kind.name} {it.name} is saved.")


def _whole(typed: str, it: OpenedObject) -> dict[str, Any]:
    """What was typed as the whole object. Raises ``Refusal``."""
    try:
        edited = yaml.safe_load(typed)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise FormErrors({"yaml": f"This is not YAML{where}."}) from None
    if not isinstance(edited, dict) or not isinstance(edited.get("metadata"), dict):
        raise FormErrors({"yaml": f"A {it.kind.name} is a mapping with metadata."})
    meta = edited["metadata"]
    if (edited.get("kind"), meta.get("namespace"), meta.get("name")) != (it.kind.name, *it.name):
        raise FormErrors({"yaml": "Kind, namespace and name cannot be changed here."})
    if not isinstance(edited.get("data", {}), dict | None):
        raise FormErrors({"yaml": "“data” is a mapping."})
    whole = restored(edited, it.body)
    if "managedFields" in it.body["metadata"]:
        whole["metadata"] = {**whole["metadata"], "managedFields": it.body["metadata"]["managedFields"]}
    return whole


def _seen(typed: str) -> str:
    """Says which text's changes were looked at."""
    return hashlib.sha256(typed.replace("\r\n", "\n").encode()).hexdigest()


_ONE: Final = "/clusters/{cluster}/{kind}/{namespace}/{name}/yaml"
PAGES: Final[tuple[Page, ...]] = (
    Page(_ONE, view),
    Page(f"{_ONE}/edit", edit, save, view_role="member"),
    Page(f"{_ONE}/diff", None, preview),
)
