"""What vendors call differently reads as the model has it."""

from __future__ import annotations

from certferry.elb.client import wire


def test_a_listener_of_a_shared_load_balancer_is_https() -> None:
    read = wire.listener(
        {"id": "l", "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "loadbalancers": [{"id": "lb"}]}
    )
    assert (read.protocol, read.loadbalancer_id) == ("HTTPS", "lb")
