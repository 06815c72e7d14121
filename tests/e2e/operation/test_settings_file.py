"""The settings file that `certferry up` writes opens its cluster and its ELB."""

from __future__ import annotations

import stat

from certferry import clusters as fleet
from certferry.elb.client.client import LOADBALANCERS
from certferry.kube.client.client import NAMESPACE
from tests.e2e.support.system import System


async def test_the_file_in_the_state_directory_gives_access_to_cluster_and_elb(system: System) -> None:
    found = fleet.read(state=system.state)
    (cluster,) = found.clusters
    async with cluster.kube() as kube, cluster.elb() as elb:
        assert "kube-system" in [i["metadata"]["name"] for i in (await kube.listing(NAMESPACE)).items]
        balancer = await elb.get(LOADBALANCERS, system.endpoints.elb.loadbalancer_id)
    assert balancer["vip_address"]
    for file in (found.file, system.state / "elb-admin.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert system.endpoints.elb.password not in found.file.read_text()
