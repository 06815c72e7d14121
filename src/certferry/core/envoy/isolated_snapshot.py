"""Build a snapshot although a listener or pool cannot be built: Envoy keeps its last resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from certferry.core.envoy.options import Options
from certferry.core.envoy.resource import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from certferry.core.envoy.snapshot import Snapshot, snapshot
from certferry.core.model.elb import State


class IsolatedSnapshot(NamedTuple):
    """A snapshot, and the type of the error for each listener or pool that could not be built, by id."""

    snapshot: Snapshot
    skipped: Mapping[str, str]


def isolated_snapshot(state: State, options: Options, before: Snapshot) -> IsolatedSnapshot:
    """Build the snapshot of `state`; a listener or pool over which an error occurs has its resources of `before`.

    Raises the error if none of them alone is at fault.
    """
    try:
        return IsolatedSnapshot(snapshot(state, options), {})
    except Exception as error:  # noqa: BLE001 (any defect: it must not reach another listener)
        cause = error
    empty = replace(state, listeners={}, pools={}, policies={})
    bad_pools = _failing({key: replace(empty, pools={key: pool}) for key, pool in state.pools.items()}, options)
    state = replace(state, pools={key: pool for key, pool in state.pools.items() if key not in bad_pools})
    alone = {
        key: replace(
            state,
            listeners={key: listener},
            policies={p.id: p for p in state.policies.values() if p.listener_id == key},
        )
        for key, listener in state.listeners.items()
    }
    bad_listeners = _failing(alone, options)
    if not bad_pools and not bad_listeners:
        raise cause
    good = {key: listener for key, listener in state.listeners.items() if key not in bad_listeners}
    made = snapshot(replace(state, listeners=good), options)
    kinds = {LISTENERS: bad_listeners, ROUTES: bad_listeners, CLUSTERS: bad_pools, ENDPOINTS: bad_pools}
    messages = {
        kind: {**resources, **_kept(before.messages.get(kind, {}), kinds.get(kind, {}))}
        for kind, resources in made.messages.items()
    }
    secrets = {name: s for name, s in before.secrets.items() if name.split("/", 1)[0] in bad_listeners}
    return IsolatedSnapshot(Snapshot(messages, {**made.secrets, **secrets}), {**bad_pools, **bad_listeners})


def _failing(states: Mapping[str, State], options: Options) -> dict[str, str]:
    failing = {}
    for key, state in states.items():
        try:
            snapshot(state, options)
        except Exception as error:  # noqa: BLE001 (as above)
            failing[key] = type(error).__name__
    return failing


def _kept(resources: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: resource for name, resource in resources.items() if name in names}
