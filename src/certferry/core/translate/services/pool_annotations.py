"""The annotations of a Service that configure its pools: algorithm, stickiness, health checks.

Source: the vendor's Service annotation tables. Each key has a heading in docs/annotations.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from certferry.core.model.elb import LAYER_4, HealthMonitor, SessionPersistence
from certferry.core.model.kubernetes import Service, ServicePort
from certferry.core.model.problems import Problem
from certferry.core.translate.ingress_annotations import PREFIX, choice

NO_PERSISTENCE: Final = SessionPersistence(type="")
NO_MONITOR: Final = HealthMonitor(id="", type="")
"""The values of a pool without them: existing ones are removed."""

_ALGORITHMS: Final = ("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP")
_CHECKS: Final = {"TCP": "TCP", "HTTP": "HTTP", "UDP": "UDP_CONNECT"}


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a pool that come from its Service."""

    algorithm: str = "ROUND_ROBIN"
    persistence: SessionPersistence = NO_PERSISTENCE
    monitor: HealthMonitor = HealthMonitor(id="")
    adaptive: bool = False
    """True if a node's weight is the number of its Pods."""
    problems: tuple[Problem, ...] = ()


def read(service: Service, port: ServicePort, protocol: str = "HTTP") -> PoolSettings:
    """Return the settings for `port`; an invalid annotation counts as absent and is a problem.

    `protocol`: that of the listener.
    """
    texts = {k.removeprefix(PREFIX): v for k, v in service.meta.annotations.items() if k.startswith(PREFIX)}
    problems: list[Problem] = []

    def ignore(key: str, why: str) -> None:
        sentence = f"Annotation {PREFIX}{key} is ignored: {why}."
        problems.append(Problem(object=service.ref, reason="AnnotationInvalid", sentence=sentence))

    def take(key: str, reader: Callable[[str], Any], otherwise: Any) -> Any:
        if key not in texts:
            return otherwise
        try:
            return reader(texts[key])
        except ValueError as expected:
            ignore(key, f"“{texts[key][:60]}” is not {expected}")
            return otherwise

    algorithm = take("lb-algorithm", choice(*_ALGORITHMS), "ROUND_ROBIN")
    mode = take("session-affinity-mode", choice("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"), None)
    option = take("session-affinity-option", _affinity, {})
    if mode and (mode == "SOURCE_IP") != (protocol in LAYER_4):
        ignore("session-affinity-mode", f"{mode} does not go with a listener of protocol {protocol}")
        mode = None
    if mode and algorithm == "SOURCE_IP":
        ignore("session-affinity-mode", "the algorithm SOURCE_IP has stickiness of its own")
        mode = None
    if mode == "APP_COOKIE" and "cookie_name" not in option:
        ignore("session-affinity-mode", "APP_COOKIE needs app_cookie_name in session-affinity-option")
        mode = None
    monitor = NO_MONITOR
    if take("health-check-flag", choice("on", "off"), "on") == "on":
        monitor = take("health-check-option", _check, HealthMonitor(id=""))
        monitor = take("health-check-options", _checks, {}).get(port.port, monitor)
    return PoolSettings(
        algorithm=algorithm,
        persistence=_persistence(mode, option),
        monitor=monitor,
        adaptive=take("adaptive-weight", choice("true", "false"), "false") == "true",
        problems=tuple(problems),
    )


def _persistence(mode: str | None, option: Mapping[str, Any]) -> SessionPersistence:
    if mode is None:
        return NO_PERSISTENCE
    cookie = option["cookie_name"] if mode == "APP_COOKIE" else None
    longest = 60 if mode == "SOURCE_IP" else 1440
    minutes = min(option.get("persistence_timeout", 1 if mode == "SOURCE_IP" else 1440), longest)
    return SessionPersistence(type=mode, cookie_name=cookie, persistence_timeout=minutes)


def _affinity(text: str) -> Mapping[str, Any]:
    expected = ValueError('JSON such as {"persistence_timeout":"30"} (1 to 1440 minutes)')
    given = _json(text, dict[str, str | int], expected)
    result: dict[str, Any] = {}
    if "persistence_timeout" in given:
        result["persistence_timeout"] = _number(given["persistence_timeout"], 1, 1440, expected)
    if "app_cookie_name" in given:
        result["cookie_name"] = str(given["app_cookie_name"])
    return result


def _check(text: str) -> HealthMonitor:
    expected = ValueError('JSON such as {"protocol":"HTTP","delay":"5","timeout":"10","max_retries":"3","path":"/"}')
    return _monitor(_json(text, dict[str, str | int], expected), expected)


def _checks(text: str) -> Mapping[int, HealthMonitor]:
    expected = ValueError('a JSON list such as [{"target_service_port":"TCP:80","protocol":"TCP"}]')
    monitors = {}
    for one in _json(text, list[dict[str, str | int]], expected):
        _, _, port = str(one.get("target_service_port", "")).rpartition(":")
        monitors[_number(port, 1, 65535, expected)] = _monitor(one, expected)
    return monitors


def _monitor(given: Mapping[str, str | int], expected: ValueError) -> HealthMonitor:
    protocol = str(given.get("protocol", "TCP")).upper()
    path = str(given.get("path", "/"))
    if protocol not in _CHECKS or not path.startswith("/") or len(path) > 80:
        raise expected
    port = given.get("monitor_port")
    return HealthMonitor(
        id="",
        type=_CHECKS[protocol],
        delay=_number(given.get("delay", 5), 1, 50, expected),
        timeout=_number(given.get("timeout", 10), 1, 50, expected),
        max_retries=_number(given.get("max_retries", 3), 1, 10, expected),
        url_path=path if protocol == "HTTP" else None,
        monitor_port=_number(port, 1, 65535, expected) if port not in (None, "") else None,
    )


def _json(text: str, kind: Any, expected: ValueError) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        raise expected from None


def _number(value: Any, low: int, high: int, expected: ValueError) -> int:
    text = str(value)
    if not text.isdigit() or not low <= int(text) <= high:
        raise expected
    return int(text)
