"""Documents that depend on the kinds alone: discovery, OpenAPI and version."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from certferry.kube.apiserver.discovery import discovery, openapi, openapi_v2_protobuf
from certferry.kube.apiserver.errors import ApiStatus, unknown_path
from certferry.kube.apiserver.http.request import Request, Response
from certferry.kube.apiserver.resources.builtin import ResourceDefinition

VERSION: Final = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+certferry",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
"""The Kubernetes version whose behaviour this server follows."""


class Documents:
    """The documents, each built at its first request."""

    def __init__(self, kinds: tuple[ResourceDefinition, ...]) -> None:
        self._kinds = kinds
        self._documents: dict[str, bytes] = {}

    def respond(self, request: Request, parts: list[str]) -> Response:
        """Return the document at the path `parts`. Raises ``ApiStatus``."""
        if parts[:1] == ["openapi"]:
            return self._openapi(request, parts[1:])
        document = msgspec.json.encode(self._discovery(parts, request))
        return Response(document, media=self._media(parts, request))

    def _media(self, parts: list[str], request: Request) -> str:
        aggregated = parts in (["api"], ["apis"]) and discovery.wants_aggregated(request.accept)
        return discovery.AGGREGATED if aggregated else "application/json"

    def _discovery(self, parts: list[str], request: Request) -> Any:
        aggregated = discovery.wants_aggregated(request.accept)
        groups = discovery.groups(self._kinds)
        match parts:
            case []:
                return {
                    "paths": [
                        "/api",
                        "/api/v1",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/openapi/v2",
                        "/openapi/v3",
                        "/readyz",
                        "/version",
                    ]
                }
            case ["version"]:
                return VERSION
            case ["api"]:
                return (
                    discovery.aggregated(self._kinds, {"": "v1"})
                    if aggregated
                    else discovery.api_versions(request.host)
                )
            case ["apis"]:
                return discovery.aggregated(self._kinds, groups) if aggregated else discovery.group_list(self._kinds)
            case ["api", "v1"]:
                return discovery.resource_list(self._kinds, "", "v1")
            case ["apis", group] if group in groups:
                return discovery.group(group, groups[group])
            case ["apis", group, version] if groups.get(group) == version:
                return discovery.resource_list(self._kinds, group, version)
        raise unknown_path()

    def _openapi(self, request: Request, rest: list[str]) -> Response:
        path = "/".join(rest)
        if path == "v2" and "proto-openapi.spec.v2" in request.accept:
            return Response(self._cached("v2 protobuf"), media=openapi_v2_protobuf.MEDIA)
        if "json" not in request.accept and "*/*" not in request.accept and request.accept:
            raise ApiStatus(406, "NotAcceptable", "only the following media types are accepted: application/json")
        return Response(self._cached(path))

    def _cached(self, path: str) -> bytes:
        if path not in self._documents:
            self._documents[path] = self._build(path)
        return self._documents[path]

    def _build(self, path: str) -> bytes:
        groups = openapi.groups(self._kinds)
        match path:
            case "v2 protobuf":
                return openapi_v2_protobuf.encode(openapi.document_v2(self._kinds))
            case "v2":
                return msgspec.json.encode(openapi.document_v2(self._kinds))
            case "v3":
                return msgspec.json.encode(openapi.index(self._kinds))
            case _ if path.removeprefix("v3/") in groups:
                return msgspec.json.encode(openapi.document(groups[path.removeprefix("v3/")]))
        raise unknown_path()
