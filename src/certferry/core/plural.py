"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str) -> str:
    """Return “1 certificate”, “12,000 certificates”, “3 Ingresses” or “2 policies”; `one` is the singular noun."""
    if number == 1:
        return f"1 {one}"
    if one.endswith("cy"):
        return f"{number:,} {one[:-1]}ies"
    return f"{number:,} {one}{'es' if one.endswith('s') else 's'}"
