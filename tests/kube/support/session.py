"""The kubectl session as a transcript: every command with its exit code and output.

``tests/testdata/kubectl/session.txt`` has the commands; ``test_kubectl_session`` compares the transcript of the
embedded API. ``python -m tests.kube.support.session KUBECONFIG`` runs the commands against any other API
server and prints the differences.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.kube.support.server_process import KUBECTL
from tests.support.certs import authority
from tests.support.golden import TESTDATA

FOLDER = TESTDATA / "kubectl"
COMMANDS = FOLDER / "session.txt"
TRANSCRIPT = FOLDER / "session.out.txt"
_VARIES = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000"), "<time>"),
    (re.compile(r'(resourceVersion"?: ")\d+'), r"\1<revision>"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "<address>"),
    (re.compile(r"(?<=:)3[0-2]\d{3}(?=/TCP)|(?<=nodePort: )3[0-2]\d{3}"), "<port>"),
    (re.compile(r"(?<=[ (])\d+s\b"), "<age>"),
    (re.compile(r"https://(127\.0\.0\.1|localhost):\d+"), "<server>"),
    (re.compile(r"/tmp/[\w./-]*?(LIVE|MERGED)-\d+"), r"\1"),
    (re.compile(r"/tmp/kubectl-edit-\w+\.yaml"), "<file>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000"), "<time>"),
    (re.compile(r"W\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ "), "W "),
    (re.compile(r"v1\.3\d\.\d+\S*"), "<version>"),
)


def run(environment: Mapping[str, str], place: Path) -> str:
    """Run the session in the folder `place` and return its transcript."""
    files = place / "files"
    subprocess.run(["cp", "-r", FOLDER, files], check=True)
    for name in ("web", "other"):
        pair = authority().issue("shop.example.com")
        (files / f"{name}.crt").write_text(pair.certificate)
        (files / f"{name}.key").write_text(pair.key)
    path = f"{KUBECTL.parent}:{os.environ['PATH']}"
    environment = {**os.environ, **environment, "PATH": path, "KUBE_EDITOR": "./editor", "LANG": "C"}
    lines: list[str] = []
    for line in COMMANDS.read_text().splitlines():
        lines.append(line)
        if line.startswith("$ "):
            lines += _told(line[2:], files, environment)
    return "\n".join(lines) + "\n"


def _told(command: str, place: Path, environment: Mapping[str, str]) -> list[str]:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=place,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = [_settled(line) for line in _by_manager(done.stdout).splitlines()]
    lines += [f"! {_settled(line)}" for line in done.stderr.splitlines()]
    return lines + ([f"[exit {done.returncode}]"] if done.returncode else [])


def _by_manager(text: str) -> str:
    """Sort managed fields by manager, because servers sort them by the second of their last write."""

    def ordered(result: re.Match[str]) -> str:
        entries = re.split(r"^(?=  - )", result[0], flags=re.MULTILINE)
        return "".join(sorted(entries, key=lambda entry: re.findall(r"^    manager: .*", entry, re.MULTILINE)))

    return re.sub(r"(?<=^  managedFields:\n)(  - .*\n(    .*\n)*)+", ordered, text, flags=re.MULTILINE)


def _settled(line: str) -> str:
    for expression, name in _VARIES:
        line = expression.sub(name, line)
    # Widths of columns depend on variable values such as <age>.
    if "CLUSTER-IP" in line or "<" in line:
        return re.sub(r" {2,}(?=[<A-Z])|(?<=>) {2,}", "  ", line).rstrip()
    return line.rstrip()


def main() -> int:
    """Compare another server with the recorded transcript."""
    with tempfile.TemporaryDirectory() as place:
        home = {"KUBECONFIG": str(Path(sys.argv[1]).resolve()), "HOME": place}
        result = run(home, Path(place))
    ours = TRANSCRIPT.read_text().splitlines()
    sys.stdout.writelines(
        f"{line}\n" for line in difflib.unified_diff(ours, result.splitlines(), "ours", "theirs", lineterm="", n=2)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
