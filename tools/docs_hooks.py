"""Hooks of MkDocs: top-level pages join the site, links to files outside it become text, pages load nothing from afar."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]
TOP_LEVEL: Final = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK: Final = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]*)(#[^)]*)?\)")
LOADS: Final = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//|<link[^>]+href=["']?(?:https?:)?//"""
    r"""|@import|url\(["']?(?:https?:)?//"""
)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that stand beside docs/ and the README of each example."""
    for name in TOP_LEVEL:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    for path in sorted((ROOT / "examples").glob("**/README.md")):
        name = str(path.relative_to(ROOT))
        files.append(File.generated(config, name, content=path.read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of `page` to their place in the site; keep only the text of a link that leads out of it."""
    here: str = page.file.src_uri
    outside = here in TOP_LEVEL or here.startswith("examples/")

    def rewrite(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        folder = posixpath.dirname(here if outside else f"docs/{here}")
        path = posixpath.normpath(posixpath.join(folder, target)).removeprefix("docs/")
        if files.get_file_from_path(path) is None:
            return text if (ROOT / path).exists() or (ROOT / "docs" / path).is_dir() else link[0]
        return f"[{text}]({posixpath.relpath(path, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(rewrite, markdown)


def on_post_build(*, config: Any) -> None:
    """Check that no page or style sheet loads anything from another host. Raises PluginError if one does."""
    site = Path(config.site_dir)
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    if loading := [str(path.relative_to(site)) for path in files if LOADS.search(path.read_text())]:
        raise PluginError(f"These files load from other hosts: {', '.join(loading)}")
