"""One verdict: what our checks call servable is what Envoy loads, for every kind of certificate."""

from __future__ import annotations

import msgspec

from certferry.core.x509.pem import InvalidPem, parse_chain, parse_key
from tests.elb.support.dataplane import World, free_port, https, pool, running, until_true
from tests.support.odd_certificates import KINDS


async def test_our_verdict_agrees_with_envoy() -> None:
    """Each kind is put on a listener without being checked; Envoy accepts it or says why not."""
    port = free_port()
    ours: dict[str, bool] = {}
    envoys: dict[str, str] = {}
    async with running(World(**https(port, {}), pools=pool(port))) as plane:
        for name, make in KINDS.items():
            pair = make()
            try:
                chain, key = parse_chain(pair.certificate), parse_key(pair.key)
            except InvalidPem:
                ours[name] = False
                continue  # it never gets to Envoy
            ours[name] = chain.loadable and chain.spki == key.spki
            # called P-256 in any case, because the projection leaves out what our verdict rejects
            plane.world.put("main", msgspec.structs.replace(chain, key="P-256", data_plane_objection=""), key)
            plane.publish()

            async def answered(digest: str = chain.digest) -> bool:
                status = plane.ads.status().get("web/default/0")
                return status is not None and (status.accepted == digest or bool(status.error))

            await until_true(answered)
            envoys[name] = plane.ads.status()["web/default/0"].error
            plane.world.renew("main")
            plane.publish()
            await plane.accepted("web/default/0", plane.world.digest("main"))
    wrong = {name: (ours[name], said) for name, said in envoys.items() if ours[name] != (said == "")}
    assert sorted(f"{name}: ours {ok}, Envoy: {said}" for name, (ok, said) in wrong.items()) == []
    assert len(envoys) > 50
