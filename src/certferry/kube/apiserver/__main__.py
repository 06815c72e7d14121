"""``python -m certferry.kube.apiserver '{"state": "…"}'`` runs the server alone, with its settings as JSON."""

import asyncio
import sys

import msgspec

from certferry.kube.apiserver.main import serve
from certferry.settings import KubeServerSettings, UserError


def main() -> int:
    """Serve until stopped and return the exit code."""
    values = msgspec.json.decode(sys.argv[1])
    settings = msgspec.convert(values, KubeServerSettings, dec_hook=lambda kind, value: kind(value))
    try:
        asyncio.run(serve(settings))
    except UserError as refused:
        sys.stderr.write(f"{refused}\n")
        return refused.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
