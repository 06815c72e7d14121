"""Pattern checks of the writing rules (CONTRIBUTING.md): docstrings, comments, messages, docs.

``python -m tests.repository.prose [PATH...]`` prints each hit as ``file:line: rule: text``.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
MOST_WORDS: Final = 25
MOST_CHARACTERS: Final = 120

WORDS: Final = re.compile(
    r"\b(somebody|nobody|anybody|whoever|everybody"
    r"|(?:is|are|was|were|be|been|being) (?:told|said|asked)"
    r"|told|gravest|put right|puts right|let go|lets go|way back|taken back|takes back|out of step"
    r"|seats?|parked|parks|kept by|governed by|governing ingress|no more than it|of its own accord"
    r"|where there is none|goes by itself|all is well|looked at again)\b",
    re.IGNORECASE,
)
"""Words that the glossary replaces: reported, reverted, rejected, slot, quarantined, managed by, listener owner."""

FOR_AS_BECAUSE: Final = re.compile(r", for (?:it|they|there|what|nothing|these|its|their|he|she|we) ")

HEADLESS: Final = re.compile(r"^(What|Who|Whom|Whose|Whoever|Whether|Where|Why|How|When)\b(?!.*\?$)")
"""A clause that begins a docstring without a noun or verb before it."""

NOT_VERBS: Final = re.compile(
    r"(a|all|an|and|another|any|as|at|because|before|both|by|each|either|every|everything|for|"
    r"from|here|his|if|in|into|it|its|like|many|more|most|much|neither|no|none|nothing|of|on|"
    r"one|only|or|other|our|over|same|several|since|so|some|such|than|that|the|their|them|then|"
    r"there|these|they|this|those|through|to|under|until|up|upon|we|what|when|where|whether|"
    r"which|who|why|with|without|yes)[\s,:;]"
)
"""First words that show that a function's docstring does not begin with a verb."""


STORED: Final = frozenset({"Kept by Certferry, do not change"})
"""Texts that stand on load balancers of today."""


class Hit(NamedTuple):
    """One place that breaks a rule."""

    path: Path
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.rule}: {self.text.strip()[:110]}"


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(p for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


def pages() -> list[Path]:
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def check_source(path: Path, *, sentences: bool) -> Iterator[Hit]:
    """Check docstrings, comments and, with `sentences`, the form of docstrings and the words of messages."""
    text = path.read_text()
    tree = ast.parse(text)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from _words(path, token.start[0], token.string)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and node.value not in STORED
        ):
            if id(node) in documented:
                yield from _words(path, node.lineno, node.value)
                if sentences:
                    yield from _long(path, node.lineno, node.value)
            elif sentences:
                yield from _words(path, node.lineno, node.value)
        if sentences and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            yield from _first_word(path, node)


def _first_word(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> Iterator[Hit]:
    docstring = ast.get_docstring(node)
    if not docstring:
        return
    line = node.lineno + 1 if not isinstance(node, ast.Module) else 1
    first = docstring.split("\n", 1)[0]
    if HEADLESS.match(first):
        yield Hit(path, line, "headless clause", first)
    elif _wants_verb(node) and NOT_VERBS.match(first.lower()):
        yield Hit(path, line, "not a verb", first)


def _wants_verb(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> bool:
    # a property is read like a value, so its docstring may name it
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
    return not decorators & {"property", "setter", "cached_property"}


def check_page(path: Path) -> Iterator[Hit]:
    """Check words, sentence length and line length of a page; code blocks and tables are exempt from lengths."""
    fenced, paragraph, start = False, "", 1
    for number, line in enumerate([*path.read_text().splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            line = ""
        if fenced:
            continue
        table, link = line.lstrip().startswith("|"), re.search(r"\]\(\S{60,}\)|https?://\S{60,}", line)
        yield from _words(path, number, re.sub(r"`[^`]*`", "`x`", line))
        if len(line) > MOST_CHARACTERS and not table and not link:
            yield Hit(path, number, "line too long", line)
        if not line.strip() or table or re.match(r"\s*([-*#>]|\d+\.)\s?", line):
            yield from _long(path, start, paragraph)
            paragraph, start = "" if table or line.startswith("#") else line, number
        else:
            paragraph = f"{paragraph} {line}"


def _words(path: Path, line: int, text: str) -> Iterator[Hit]:
    for rule, pattern in (("word", WORDS), ("for as because", FOR_AS_BECAUSE)):
        for match in pattern.finditer(text):
            yield Hit(
                path,
                line + text[: match.start()].count("\n"),
                f"{rule} “{match[0].strip()}”",
                text.split("\n")[text[: match.start()].count("\n")],
            )


def _long(path: Path, line: int, text: str) -> Iterator[Hit]:
    plain = re.sub(r"``?[^`]+``?", "x", text)
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    for sentence in re.split(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*[-*|]\s", plain):
        words = [word for word in sentence.split() if re.search(r"\w", word)]
        if len(words) > MOST_WORDS:
            yield Hit(path, line, f"{len(words)} words", " ".join(sentence.split()))


class _Locals(ast.NodeVisitor):
    """Local names of a function with the lines between which they are used."""

    def __init__(self) -> None:
        self.spans: dict[str, tuple[int, int]] = {}

    def visit_Name(self, node: ast.Name) -> None:
        first, last = self.spans.get(node.id, (node.lineno, node.lineno))
        self.spans[node.id] = (min(first, node.lineno), max(last, node.lineno))


BANNED_LOCALS: Final = ("found", "it", "known")
BANNED_NAMES: Final = re.compile(
    r"(?i)(watchman|vigil|doubt|desk|settle[sd]?$|sitting|seat|world|door|sight|patience|parking|parked|guest|(?<!hi)story|"
    r"telling|lifeline|remark|beside|narrate|forecast|stranger|somebody|nobody|anybody|whoever|conduct$|drifting$|gathering$)"
)
"""Whimsical names: a reader cannot guess from them what the thing is."""


def check_names(path: Path) -> Iterator[Hit]:
    """Check definitions, attributes and parameters for banned names, and locals of over three lines."""
    tree = ast.parse(path.read_text())
    for part in path.relative_to(ROOT).with_suffix("").parts:
        if BANNED_NAMES.search(part):
            yield Hit(path, 1, "banned name", part)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if BANNED_NAMES.search(node.name):
                yield Hit(path, node.lineno, "banned name", node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and BANNED_NAMES.search(node.attr):
            yield Hit(path, node.lineno, "banned name", node.attr)
        elif isinstance(node, ast.arg) and BANNED_NAMES.search(node.arg):
            yield Hit(path, node.lineno, "banned name", node.arg)
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and BANNED_NAMES.search(node.target.id)
        ):
            yield Hit(path, node.lineno, "banned name", node.target.id)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            visitor = _Locals()
            for statement in node.body:
                visitor.visit(statement)
            for name in BANNED_LOCALS:
                first, last = visitor.spans.get(name, (0, 0))
                if last - first >= 3:
                    yield Hit(path, first, "banned local", f"{name} in {node.name}")


def all_hits() -> Iterator[Hit]:
    """Check the whole repository."""
    for path in sources("src"):
        yield from check_source(path, sentences=True)
        yield from check_names(path)
    for path in sources("tests", "bench", "tools"):
        if path != Path(__file__).resolve():
            yield from check_source(path, sentences=False)
    for path in pages():
        yield from check_page(path)


def main() -> None:
    """Print the hits below the given paths."""
    below = [str(Path(argument).resolve()) for argument in sys.argv[1:]] or [str(ROOT)]
    hits = [hit for hit in all_hits() if any(str(hit.path).startswith(start) for start in below)]
    for hit in hits:
        print(hit)  # noqa: T201
    print(f"{len(hits)} hits", file=sys.stderr)  # noqa: T201
    sys.exit(1 if hits else 0)


if __name__ == "__main__":
    main()
