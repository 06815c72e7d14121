"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str) -> str:
    """“1 certificate”, “12,000 certificates”, “3 Ingresses”: `one` is the noun for one of them."""
    if number == 1:
        return f"1 {one}"
    return f"{number:,} {one}{'es' if one.endswith('s') else 's'}"
