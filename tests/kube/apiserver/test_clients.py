"""Python's Kubernetes client libraries against the embedded API."""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Secret
from lightkube.types import PatchType

from tests.kube.support.server_process import TIMEOUT, Process

# The functions called here are the untyped ones of the library.
kubernetes: Any = importlib.import_module("kubernetes")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    result = Process(tmp_path_factory.mktemp("state"))
    result.start()
    yield result
    result.end()


@pytest.fixture
def config(process: Process) -> Path:
    return process.state / "kubeconfig"


def test_the_official_client_lists_watches_and_sees_conflicts(config: Path) -> None:
    core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(config)))
    body = kubernetes.client.V1Secret(metadata={"name": "official"}, string_data={"a": "1"}, type="Opaque")
    made = core.create_namespaced_secret("default", body)
    listed = core.list_namespaced_secret("default")
    assert "official" in [s.metadata.name for s in listed.items]

    def change() -> None:
        core.patch_namespaced_secret("official", "default", {"metadata": {"labels": {"x": "y"}}})
        core.delete_namespaced_secret("official", "default")

    thread = threading.Thread(target=change)
    watch, seen = kubernetes.watch.Watch(), []
    thread.start()
    version = listed.metadata.resource_version
    for event in watch.stream(core.list_namespaced_secret, "default", resource_version=version, timeout_seconds=10):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            watch.stop()
    thread.join()
    assert seen == [("MODIFIED", "official"), ("DELETED", "official")]
    core.create_namespaced_secret("default", body)
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.replace_namespaced_secret("official", "default", made)
    assert refused.value.status == 409


def test_lightkube_reads_writes_and_watches(config: Path) -> None:
    client = lightkube.Client(lightkube.KubeConfig.from_file(config))
    made = client.create(Lease(metadata=ObjectMeta(name="l", namespace="default"), spec=LeaseSpec(holderIdentity="a")))
    assert made.metadata
    assert made.spec
    made.spec.holderIdentity = "b"
    replaced = client.replace(made)
    assert replaced.spec
    assert replaced.spec.holderIdentity == "b"
    client.create(Secret(metadata=ObjectMeta(name="light", namespace="default"), stringData={"a": "1"}))
    client.patch(Secret, "light", {"metadata": {"labels": {"k": "v"}}}, patch_type=PatchType.MERGE, namespace="default")
    result = client.list(Secret, namespace="default", labels={"k": "v"})
    assert [s.metadata.name for s in result if s.metadata] == ["light"]
    for kind, secret in client.watch(Secret, namespace="default", fields={"metadata.name": "light"}):
        assert (kind, secret.type) == ("ADDED", "Opaque")
        break


def test_lightkube_applies_and_sees_conflicts(config: Path) -> None:
    client = lightkube.Client(lightkube.KubeConfig.from_file(config), field_manager="one")

    def wanted(value: str) -> ConfigMap:
        return ConfigMap(metadata=ObjectMeta(name="applied", namespace="default"), data={"a": value})

    made = client.apply(wanted("1"))
    assert made.metadata
    assert made.metadata.managedFields
    assert [(m.manager, m.operation) for m in made.metadata.managedFields] == [("one", "Apply")]
    with pytest.raises(ApiError, match=r'conflict with "one": [.]data[.]a'):
        client.apply(wanted("2"), field_manager="two")
    assert client.apply(wanted("2"), field_manager="two", force=True).data == {"a": "2"}


def test_the_informer_of_the_official_client_stays_current(config: Path) -> None:
    core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(config)))
    informers = importlib.import_module("kubernetes.informer")
    seen: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    informer = informers.SharedInformer(list_func=core.list_namespaced_config_map, namespace="default")
    informer.add_event_handler("ADDED", lambda o: seen.put(("ADDED", o.metadata.name)))
    informer.add_event_handler("DELETED", lambda o: seen.put(("DELETED", o.metadata.name)))
    informer.start()
    try:
        body = kubernetes.client.V1ConfigMap(metadata={"name": "followed"}, data={"a": "1"})
        core.create_namespaced_config_map("default", body)
        core.delete_namespaced_config_map("followed", "default")
        events = []
        while ("DELETED", "followed") not in events:
            events.append(seen.get(timeout=TIMEOUT))
        assert events.index(("ADDED", "followed")) < events.index(("DELETED", "followed"))
    finally:
        informer.stop()
