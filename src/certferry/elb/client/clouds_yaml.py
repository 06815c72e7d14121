"""From settings to an ELB and who we are there: said outright, or an entry of clouds.yaml.

It reads files and makes no request; the client fills the rest from the service catalog.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from certferry.elb.client.credentials import Credentials, CredentialsError, complete, load
from certferry.settings import ElbPlace

_FOLDERS: Final = (".", "~/.config/openstack", "/etc/openstack")


class CloudAccess(NamedTuple):
    """The settings of a client; an empty `url` comes from the service catalog."""

    url: str
    credentials: Credentials
    ca: Path | None


def find(place: ElbPlace, environ: Mapping[str, str] = os.environ) -> CloudAccess:
    """Return the URL and credentials for `place`. Raises CredentialsError."""
    found = site(place, environ)
    where = f"clouds.yaml (cloud “{place.cloud}”)" if place.cloud else "the settings of the ELB"
    return found._replace(credentials=complete(found.credentials, found.url, where))


def site(place: ElbPlace, environ: Mapping[str, str] = os.environ) -> CloudAccess:
    """Return the same for a user with an own identity; credentials may be absent. Raises CredentialsError."""
    cloud = _entry(place.cloud, environ) if place.cloud else {}
    auth = cloud.get("auth") or {}
    credentials = load(place.credentials_file) if place.credentials_file else _credentials(auth)
    said = {
        "auth_url": place.auth_url or str(auth.get("auth_url") or "") or credentials.auth_url,
        "region": place.region or str(cloud.get("region_name") or "") or credentials.region,
    }
    if place.project:
        said |= _project(place.project)
    url = place.url or str(cloud.get("elb_endpoint_override") or "")
    credentials = msgspec.structs.replace(credentials, **said)
    authority = cloud.get("cacert")
    return CloudAccess(url, credentials, place.ca or (Path(authority).expanduser() if authority else None))


def _credentials(auth: Mapping[str, Any]) -> Credentials:
    def text(*keys: str) -> str:
        return str(next((auth[k] for k in keys if auth.get(k)), ""))

    return Credentials(
        project_id=text("project_id", "tenant_id"),
        project=text("project_name", "tenant_name"),
        access_key=text("ak", "access_key"),
        secret_key=text("sk", "secret_key"),
        username=text("username"),
        password=text("password"),
        domain=text("user_domain_name", "domain_name") or "Default",
    )


def _project(name: str) -> dict[str, str]:
    """Tell an id (32 hexadecimal digits) from a name."""
    is_id = len(name) == 32 and all(c in "0123456789abcdef" for c in name)
    return {"project_id": name, "project": ""} if is_id else {"project_id": "", "project": name}


def _entry(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    files = list(_files("clouds", environ))
    for file in files:
        clouds = _clouds(file)
        if name in clouds:
            secrets = [c[name] for c in map(_clouds, _files("secure", environ)) if name in c]
            return _merged(clouds[name] or {}, secrets[0] if secrets else {})
    looked = ", ".join(map(str, files)) or "no clouds.yaml was found"
    raise CredentialsError(f"clouds.yaml has no cloud “{name}” ({looked}).")


def _files(kind: str, environ: Mapping[str, str]) -> Iterator[Path]:
    named = environ.get("OS_CLIENT_CONFIG_FILE" if kind == "clouds" else "OS_CLIENT_SECURE_FILE")
    places = [Path(named)] if named else []
    places += [Path(folder).expanduser() / f"{kind}.yaml" for folder in _FOLDERS]
    yield from (file for file in places if file.is_file())


def _clouds(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
        clouds = document["clouds"]
    except OSError as error:
        raise CredentialsError(f"{file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise CredentialsError(f"{file} is no YAML with a mapping “clouds”.") from None
    return clouds if isinstance(clouds, dict) else {}


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    both = {**base, **more}
    if isinstance(base.get("auth"), dict) and isinstance(more.get("auth"), dict):
        both["auth"] = {**base["auth"], **more["auth"]}
    return both
