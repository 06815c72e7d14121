"""Compression of responses, as a filter configuration of a listener's route table.

In the route table, because there a change of ``gzip_enable`` closes no connection.
"""

from __future__ import annotations

from typing import Any, Final

from certferry.core.envoy.resource import TYPE

FILTER: Final = "envoy.filters.http.compressor"
_FILTER_TYPE: Final = f"{TYPE}envoy.extensions.filters.http.compressor.v3."
_GZIP: Final = f"{TYPE}envoy.extensions.compression.gzip.compressor.v3.Gzip"


def uncompressed() -> dict[str, Any]:
    """Return the filter for a filter chain; only route tables enable it."""
    library = {"name": "gzip", "typed_config": {"@type": _GZIP}}
    config = {"@type": f"{_FILTER_TYPE}Compressor", "compressor_library": library}
    return {"name": FILTER, "typed_config": config, "disabled": True}


def compression(enabled: bool | None) -> dict[str, Any]:
    """Return the per-table filter configuration; {} compresses nothing."""
    if not enabled:
        return {}
    return {FILTER: {"@type": f"{_FILTER_TYPE}CompressorPerRoute", "overrides": {"response_direction_config": {}}}}
