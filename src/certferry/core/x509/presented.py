"""What a handshake shows, against what it is to show: the leaf, and the chain that comes with it.

The probe, the patrol and the command line ask it. Roots make no difference, for clients use their own
copy of them: a load balancer may leave one out, or send it too. It makes no handshake.
"""

from __future__ import annotations

from certferry.core.x509.chain import ChainCertificate
from certferry.core.x509.pem import Chain, listed


def chain_difference(shown: Chain, want: Chain) -> str:
    """How the chain of `shown`, which has the leaf of `want`, is another; "" where clients see no difference.

    It goes on after “the right certificate is shown, but …”.
    """
    # in any order: TLS asks for the right one, and every client puts it right (RFC 8446, 4.4.2)
    sent, due = _needed(shown), _needed(want)
    missing = _named([link for link in due if link not in sent])
    beside = _named([link for link in sent if link not in due])
    if missing and beside:
        return f"{beside} is sent with it instead of {missing}"
    if missing:
        return f"{missing} is not sent with it: clients that have not met it before fail"
    return f"{beside} is sent with it too" if beside else ""


def _needed(chain: Chain) -> list[tuple[str, str]]:
    """The certificates after the leaf that clients need on the way to a root: subject, fingerprint."""
    return [_name(link) for link in chain.links[1:] if not link.self_issued]


def _name(link: ChainCertificate) -> tuple[str, str]:
    return link.subject, link.fingerprint


def _named(links: list[tuple[str, str]]) -> str:
    return listed(tuple(f"{subject} ({fingerprint[:16]})" for subject, fingerprint in links))
