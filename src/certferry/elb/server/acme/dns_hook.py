"""The program that answers DNS-01 challenges: ``PROGRAM present|cleanup NAME VALUE`` (the convention of lego).

Its name comes from the settings alone, never from a request. NAME is ``_acme-challenge.HOST``, and both arguments
have checked characters.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final, Literal

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_LONGEST: Final = 600
PREFIX: Final = "_acme-challenge."


class HookError(Exception):
    """The hook program failed; the message has its last words."""


class DnsHook:
    """The hook program of the settings."""

    def __init__(self, program: Path, timeout: float) -> None:
        self._program = program.expanduser()
        self._timeout = timeout

    def run(self, action: Literal["present", "cleanup"], host: str, value: str) -> None:
        """Run the program for one TXT record. Raises HookError if it fails or takes too long."""
        name = f"{PREFIX}{host}"
        try:
            subprocess.run(
                [self._program, action, name, value],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout,
                check=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("CERTFERRY_")},
            )
        except subprocess.TimeoutExpired:
            raise HookError(f"{self._program} {action} {name} did not end within {self._timeout:.0f} s") from None
        except subprocess.CalledProcessError as error:
            text = _CONTROL.sub(" ", (error.stderr or error.stdout or b"").decode(errors="replace")).strip()
            words = f": {text[-_LONGEST:]}" if text else ""
            raise HookError(f"{self._program} {action} {name} failed with code {error.returncode}{words}") from None
        except OSError as error:
            raise HookError(f"{self._program} cannot be started: {error.strerror}") from None


def objection(program: Path | None) -> str:
    """Return why DNS-01 cannot work with this setting; "" if it can."""
    if program is None:
        return "dns-01 needs a hook program: set dns_hook of the ELB"
    if not os.access(program.expanduser(), os.X_OK):
        return f"The hook program {program} is missing or not executable"
    return ""
