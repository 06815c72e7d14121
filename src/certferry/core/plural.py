"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str) -> str:
    """Return “1 certificate”, “12,000 certificates” or “3 Ingresses”; `one` is the singular noun."""
    if number == 1:
        return f"1 {one}"
    return f"{number:,} {one}{'es' if one.endswith('s') else 's'}"
