"""View YAML and Edit YAML of an object. Changes are shown before they can be saved.

The text of a Secret has placeholders for its values; an unchanged placeholder keeps the value.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Final

from starlette.responses import PlainTextResponse, Response

from certferry.console.pages.objects.diff import KEPT, diff, nothing_to_keep, readable, restored, text
from certferry.console.pages.objects.kinds import OpenedObject, open_object
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import FormErrors
from certferry.console.web.forms import refuse
from certferry.core.model.managers import managers
from certferry.kube.client.client import KubeError
from certferry.runtime.bounded_input import InvalidInput, load_yaml

MAX_TEXT: Final = 3 << 20
"""Characters of an edited object; an API server accepts no larger body."""


async def view(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/yaml; ?download gives the file."""
    opened = await open_object(request, cluster)
    shown = await asyncio.to_thread(text, readable(opened.body))
    if "download" in request.query:
        name = f"{opened.kind.name.lower()}-{opened.name.name}.yaml"
        return PlainTextResponse(shown, headers={"content-disposition": f'attachment; filename="{name}"'})
    return request.render("objects/yaml.html", object=opened, text=shown)


async def edit(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/yaml/edit."""
    opened = await open_object(request, cluster)
    shown = await asyncio.to_thread(text, readable(opened.body))
    return request.render(
        "objects/yaml_edit.html", object=opened, text=shown, kept=KEPT, managers=managers(opened.body)
    )


async def preview(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/yaml/diff: the changes that OK would make."""
    opened = await open_object(request, cluster)
    typed = (await request.form()).exact("yaml") or ""
    errors: dict[str, str] = {}
    try:
        lines = await asyncio.to_thread(lambda: diff(opened.body, _whole(typed, opened)))
    except FormErrors as error:
        lines, errors = [], error.errors
    return request.render("objects/yaml_preview.html", lines=lines, errors=errors, seen=_seen(typed))


async def save(request: PageRequest, cluster: ClusterContext) -> Response:
    """POST …/yaml/edit."""
    opened = await open_object(request, cluster)
    form = await request.form()
    typed = form.exact("yaml") or ""
    whole = await asyncio.to_thread(_whole, typed, opened)
    if form.text("seen") != _seen(typed):
        refuse({"": "Click “Show changes” first."})
    try:
        async with opened.cluster.writing() as kube:
            await kube.replace(opened.kind, whole, opened.name.namespace)
    except KubeError as error:
        if error.status == 409:
            refuse({"": f"This {opened.kind.name} was changed in the meantime. Load the page again."})
        if 400 <= error.status < 500:
            refuse({"yaml": error.message})
        raise
    return request.redirect(opened.list, f"{opened.kind.name} {opened.name} was saved.")


def _whole(typed: str, opened: OpenedObject) -> dict[str, Any]:
    """Return the edited text as a whole object; slow if it is long. Raises ``FormErrors``."""
    if len(typed) > MAX_TEXT:
        raise FormErrors({"yaml": f"This YAML has more than {MAX_TEXT:,} characters."})
    try:
        edited = load_yaml(typed)
    except InvalidInput as error:
        raise FormErrors({"yaml": f"This YAML is rejected: {error}."}) from None
    if not isinstance(edited, dict) or not isinstance(edited.get("metadata"), dict):
        raise FormErrors({"yaml": f"A {opened.kind.name} is a mapping with metadata."})
    meta = edited["metadata"]
    if (edited.get("kind"), meta.get("namespace"), meta.get("name")) != (opened.kind.name, *opened.name[:2]):
        raise FormErrors({"yaml": "Kind, namespace and name cannot be changed here."})
    if not isinstance(edited.get("data", {}), dict | None):
        raise FormErrors({"yaml": "“data” is a mapping."})
    if absent := nothing_to_keep(edited, opened.body):
        raise FormErrors({"yaml": f"{absent[0]}: there is no value to keep. Type one or delete the line."})
    whole = restored(edited, opened.body)
    if "managedFields" in opened.body["metadata"]:
        whole["metadata"] = {**whole["metadata"], "managedFields": opened.body["metadata"]["managedFields"]}
    return whole


def _seen(typed: str) -> str:
    """Return a digest of the text, which proves that its changes were shown."""
    return hashlib.sha256(typed.replace("\r\n", "\n").encode()).hexdigest()


_ONE: Final = "/{kind}/{namespace}/{name}/yaml"
PAGES: Final[tuple[Page, ...]] = (
    cluster_page(_ONE, view),
    cluster_page(f"{_ONE}/edit", edit, save, view_role="member"),
    cluster_page(f"{_ONE}/diff", None, preview),
)
