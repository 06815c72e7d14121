"""Compare the chain that a handshake presents with the wanted one.

Roots make no difference, because clients use their own copy: a load balancer may omit or send them.
"""

from __future__ import annotations

from certferry.core.x509.chain import ChainCertificate
from certferry.core.x509.pem import Chain, listed


def chain_difference(shown: Chain, want: Chain) -> str:
    """Return how the chain of `shown` differs from `want`, which has the same leaf; "" if not for clients.

    The text continues “the leaf is right, but …”.
    """
    # in any order: clients accept any (RFC 8446, 4.4.2)
    sent, due = _needed(shown), _needed(want)
    missing = _named([link for link in due if link not in sent])
    beside = _named([link for link in sent if link not in due])
    if missing and beside:
        return f"{beside} is sent with it instead of {missing}"
    if missing:
        return f"{missing} is not sent with it: clients that have not met it before fail"
    return f"{beside} is sent with it too" if beside else ""


def _needed(chain: Chain) -> list[tuple[str, str]]:
    """Return (subject, fingerprint) of the intermediates that clients need to reach a root."""
    return [_name(link) for link in chain.links[1:] if not link.self_issued]


def _name(link: ChainCertificate) -> tuple[str, str]:
    return link.subject, link.fingerprint


def _named(links: list[tuple[str, str]]) -> str:
    return listed(tuple(f"{subject} ({fingerprint[:16]})" for subject, fingerprint in links))
