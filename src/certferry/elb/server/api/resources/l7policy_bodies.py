"""Bodies of forwarding policies (elb-v3-api.md 6)."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.server.api.fields import Flag, Identifier, Reference, Text, line, matching, one_of
from certferry.elb.server.api.resources.rules import RuleCreate

Part = Annotated[str, line(255)]
Action = Annotated[str, one_of("REDIRECT_TO_POOL", "REDIRECT_TO_LISTENER", "REDIRECT_TO_URL", "FIXED_RESPONSE")]


RedirectCode = Annotated[str, matching("30[12378]")]
Protocol = Annotated[str, one_of("HTTP", "HTTPS", "${protocol}")]
PortText = Annotated[str, line(16)]
AnswerCode = Annotated[str, matching("[245][0-9][0-9]")]
ContentType = Annotated[
    str, one_of("text/plain", "text/css", "text/html", "application/javascript", "application/json")
]
Message = Annotated[str, Meta(max_length=1024)]


class RedirectUrlConfig(Struct, frozen=True, kw_only=True):
    """The target of REDIRECT_TO_URL; ``${host}`` and the like keep the request's part."""

    status_code: RedirectCode
    protocol: Protocol = "${protocol}"
    host: Part = "${host}"
    port: PortText = "${port}"
    path: Part = "${path}"
    query: Part = "${query}"


class RedirectUrlConfigUpdate(Struct, frozen=True, kw_only=True):
    """The parts of it to change."""

    status_code: RedirectCode | UnsetType = UNSET
    protocol: Protocol | UnsetType = UNSET
    host: Part | UnsetType = UNSET
    port: PortText | UnsetType = UNSET
    path: Part | UnsetType = UNSET
    query: Part | UnsetType = UNSET


class FixedResponseConfig(Struct, frozen=True, kw_only=True):
    """The answer of FIXED_RESPONSE."""

    status_code: AnswerCode
    content_type: ContentType = "text/plain"
    message_body: Message = ""


class FixedResponseConfigUpdate(Struct, frozen=True, kw_only=True):
    """The parts of it to change."""

    status_code: AnswerCode | UnsetType = UNSET
    content_type: ContentType | UnsetType = UNSET
    message_body: Message | UnsetType = UNSET


class RedirectPool(Struct, frozen=True, kw_only=True):
    """A pool and its weight."""

    pool_id: Identifier
    weight: Annotated[int, Meta(ge=0, le=100)] = 1


class L7PolicyUpdate(Struct, frozen=True, kw_only=True):
    """The fields that a PUT may change; rules replace all present rules."""

    name: Text = UNSET
    description: Text = UNSET
    admin_state_up: Flag = UNSET
    priority: Annotated[int, Meta(ge=0, le=10000)] | UnsetType | None = UNSET
    redirect_url: Text = UNSET
    """Stored and answered, because Terraform compares it; without effect, as with the vendor."""
    position: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType | None = UNSET
    redirect_pool_id: Reference = UNSET
    redirect_pools_config: list[RedirectPool] | UnsetType | None = UNSET
    redirect_listener_id: Reference = UNSET
    redirect_url_config: RedirectUrlConfigUpdate | UnsetType | None = UNSET
    fixed_response_config: FixedResponseConfigUpdate | UnsetType | None = UNSET
    rules: list[RuleCreate] | UnsetType | None = UNSET


class L7PolicyCreate(L7PolicyUpdate, frozen=True, kw_only=True):
    """A new policy."""

    listener_id: Identifier
    action: Action
    redirect_url_config: RedirectUrlConfig | UnsetType | None = UNSET  # type: ignore[assignment]
    fixed_response_config: FixedResponseConfig | UnsetType | None = UNSET  # type: ignore[assignment]
    enterprise_project_id: Text = UNSET
