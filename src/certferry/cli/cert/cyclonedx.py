"""The inventory of certificates as a CycloneDX 1.6 document: certificates, public keys, algorithms, listeners.

It needs the package ``cyclonedx-python-lib``, of the extra “cyclonedx”: few users need the document, and a command line
without it stays small. Private keys are not on the client, so that none can be in the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.crypto import (
    AlgorithmProperties,
    CertificateProperties,
    CryptoAssetType,
    CryptoPrimitive,
    CryptoProperties,
    RelatedCryptoMaterialProperties,
    RelatedCryptoMaterialType,
)
from cyclonedx.model.service import Service
from cyclonedx.output.json import JsonV1Dot6

from certferry import __version__
from certferry.cli.cert.lookup import LocatedCertificate
from certferry.core.diagnosis import usage
from certferry.core.model.elb import bind_port
from certferry.core.x509.pem import Chain

_BITS: Final = {"P-256": 256, "P-384": 384, "P-521": 521, "Ed25519": 256}
_CURVES: Final = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1", "Ed25519": "Ed25519"}


def inventory_document(certificates: Iterable[tuple[LocatedCertificate, Mapping[str, Any]]]) -> str:
    """Return the document (JSON) of `certificates`, each with its row of ``cert ls``."""
    bom = Bom()
    bom.metadata.component = root = Component(name="certferry", type=ComponentType.APPLICATION, version=__version__)
    parts: dict[str, Component] = {}
    served: dict[str, tuple[Service, list[Component]]] = {}
    for located, row in certificates:
        certificate = located.snapshot.observed.certificates[located.info.id]
        if certificate.chain is None:
            continue
        component = _certificate(located, certificate.chain, row, parts, bom)
        for name, endpoint in _listeners(located):
            service, bound = served.setdefault(name, (Service(name=name, bom_ref=f"listener:{name}"), []))
            service.endpoints.add(XsUri(endpoint))
            bound.append(component)
    for service, bound in served.values():
        bom.services.add(service)
        bom.register_dependency(service, bound)
    bom.register_dependency(root, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _certificate(
    located: LocatedCertificate, chain: Chain, row: Mapping[str, Any], parts: dict[str, Component], bom: Bom
) -> Component:
    signature = _part(parts, bom, f"algorithm:{_signature(chain)}", lambda ref: _algorithm(ref, _signature(chain)))
    kind = _part(parts, bom, f"algorithm:{chain.key}", lambda ref: _key_algorithm(ref, chain.key))
    key = _part(parts, bom, f"key:{chain.spki}", lambda ref: _key(ref, chain, kind.bom_ref))
    facts: Sequence[tuple[str, str]] = [
        *(("certferry:host", host) for host in row["hosts"]),
        *(("certferry:name", name) for name in chain.names),
        ("certferry:cluster", located.cluster.name),
        ("certferry:source", row["source"]),
        ("certferry:status", row["status"]),
        ("certferry:id", located.info.id),
    ]
    component = Component(
        name=row["secret"],
        type=ComponentType.CRYPTOGRAPHIC_ASSET,
        bom_ref=f"certificate:{located.cluster.name}:{located.info.id}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=chain.fingerprint)],
        properties=[Property(name=name, value=value) for name, value in facts],
        crypto_properties=CryptoProperties(
            asset_type=CryptoAssetType.CERTIFICATE,
            certificate_properties=CertificateProperties(
                subject_name=chain.subject,
                issuer_name=chain.issuer,
                not_valid_before=chain.not_before,
                not_valid_after=chain.not_after,
                signature_algorithm_ref=signature.bom_ref,
                subject_public_key_ref=key.bom_ref,
                certificate_format="X.509",
            ),
        ),
    )
    bom.components.add(component)
    bom.register_dependency(component, [signature, key])
    bom.register_dependency(key, [kind])
    return component


def _part(parts: dict[str, Component], bom: Bom, ref: str, make: Any) -> Component:
    """Return the component `ref`, made and added once."""
    if ref not in parts:
        parts[ref] = make(ref)
        bom.components.add(parts[ref])
    return parts[ref]


def _key(ref: str, chain: Chain, algorithm: BomRef) -> Component:
    bits = int(chain.key[4:]) if chain.key.startswith("RSA-") else _BITS.get(chain.key)
    return Component(
        name=f"{chain.key} public key {chain.spki[:16]}",
        type=ComponentType.CRYPTOGRAPHIC_ASSET,
        bom_ref=ref,
        crypto_properties=CryptoProperties(
            asset_type=CryptoAssetType.RELATED_CRYPTO_MATERIAL,
            related_crypto_material_properties=RelatedCryptoMaterialProperties(
                type=RelatedCryptoMaterialType.PUBLIC_KEY, id=chain.spki, size=bits, algorithm_ref=algorithm
            ),
        ),
    )


def _key_algorithm(ref: str, key: str) -> Component:
    family, _, size = key.partition("-")
    return _algorithm(ref, key, parameter=size if family == "RSA" else None, curve=_CURVES.get(key))


def _algorithm(ref: str, name: str, parameter: str | None = None, curve: str | None = None) -> Component:
    return Component(
        name=name,
        type=ComponentType.CRYPTOGRAPHIC_ASSET,
        bom_ref=ref,
        crypto_properties=CryptoProperties(
            asset_type=CryptoAssetType.ALGORITHM,
            algorithm_properties=AlgorithmProperties(
                primitive=CryptoPrimitive.SIGNATURE, parameter_set_identifier=parameter, curve=curve
            ),
        ),
    )


def _signature(chain: Chain) -> str:
    """Return the name of the signature's algorithm, as far as the chain tells: “SHA256 by P-256”, “SHA256”."""
    name = (chain.links[0].signature if chain.links else "") or "signature without a hash of its own"
    return f"{name} by {chain.links[1].key}" if len(chain.links) > 1 else name


def _listeners(located: LocatedCertificate) -> Iterable[tuple[str, str]]:
    """Yield a name and an endpoint for each listener that has the certificate."""
    snapshot = located.snapshot
    for use in usage.uses(snapshot.diagnosis):
        balancer = snapshot.observed.loadbalancers.get(use.loadbalancer)
        if use.certificate == located.info.id and balancer:
            address = balancer.vip_address or balancer.id
            host = f"[{address}]" if ":" in address else address
            name = f"{located.cluster.name} {balancer.name or balancer.id} {use.port} {use.listener}"
            yield name, f"https://{host}:{bind_port(balancer, use.port)}"
