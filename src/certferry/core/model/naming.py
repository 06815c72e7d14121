"""Names and descriptions of the objects that the controller creates on a load balancer.

A description names the cluster that owns the object: compact JSON of at most 255 characters. On a vendor's ELB it is
the only mark, so a name alone never makes an object ours. Formats: the vendor's tables 1.2.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from certferry.core.model.elb import OWN_PREFIX
from certferry.core.model.kubernetes import Backend, Name

MAX_NAME: Final = 255
TWIN: Final = "twin_of"
"""In the description of a twin: the uid of the Secret whose certificate it stands in for (see ``plan.sni_moves``)."""
_ATTENTION = "Kept by Certferry, do not change"


def certificate_name(cluster_id: str, secret: Name, uid: str) -> str:
    """Return ``k8s_plb_default_<cluster8>_<namespace>_<secret>_<uid8>``, cut in the middle, the uid kept."""
    tail = f"_{uid[:8]}"
    head = f"{certificate_prefix(cluster_id)}{secret.namespace}_{secret.name}"
    return head[: MAX_NAME - len(tail)] + tail


def certificate_stem(name: str) -> str:
    """Return the part of a managed certificate's name that a Secret of the same name keeps when it is made anew."""
    return name.removesuffix("_twin").rpartition("_")[0]


def certificate_prefix(cluster_id: str) -> str:
    """Return the prefix of the certificate names of one cluster."""
    return f"{OWN_PREFIX}_{cluster_id[:8]}_"


def listener_name(protocol: str, port: int) -> str:
    """Return the name that CCE gives: ``k8s_HTTPS_443``."""
    return f"k8s_{protocol}_{port}"


def pool_name(namespace: str, backend: Backend, protocol: str, port: int) -> str:
    """Return the name of the pool for one Service port on one listener."""
    return f"k8s_{namespace}_{backend.service}-{backend.port}_{protocol}-{port}"[:MAX_NAME]


def policy_name(ingress: Name, *parts: str) -> str:
    """Return ``k8s_<namespace>_<ingress>_<8 hex>``: the hash tells the rules of one ingress apart."""
    mark = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"k8s_{ingress.namespace}_{ingress.name}"[: MAX_NAME - 9] + f"_{mark}"


def member_name(address: str, port: int) -> str:
    """Return 32 hex digits, as CCE does."""
    return hashlib.md5(f"{address}:{port}".encode(), usedforsecurity=False).hexdigest()


def describe(cluster_id: str, **said: str) -> str:
    """Return the description of an object of `cluster_id`; `said` are secret_id or ingress_id, and marks."""
    return msgspec.json.encode({"attention": _ATTENTION, "cluster_id": cluster_id, **said}).decode()


def mark(declared: Any) -> str:
    """Return 8 hex digits of a declaration.

    A description carries them, so that drift differs from a change in the cluster, also after a restart.
    """
    return hashlib.sha256(msgspec.json.encode(declared, order="deterministic")).hexdigest()[:8]


@functools.lru_cache(maxsize=32_768)
def described(description: str | None) -> Mapping[str, str]:
    """Parse a description; empty if it is not one of ours."""
    if not description or not description.startswith("{"):
        return {}
    try:
        return msgspec.json.decode(description, type=dict[str, str])
    except msgspec.MsgspecError:
        return {}


def is_of(cluster_id: str, description: str | None) -> bool:
    """Return whether `description` marks an object as this cluster's."""
    return described(description).get("cluster_id") == cluster_id
