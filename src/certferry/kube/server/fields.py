"""Every field of every type that this server takes: the table that `schema` explains.

Names and numbers are those of Kubernetes 1.34 (``generated.proto`` of k8s.io/api and apimachinery).
One addition: ``property`` of an ingress path, the match mode of the vendor's ingresses, which a
stock server refuses; its number is far from the ones upstream uses.
"""

from __future__ import annotations

from typing import Final

from certferry.kube.server.schema import Type, parse

TYPES: Final[dict[str, Type]] = parse(
    """
ObjectMeta: name=1 string; generateName=2 string; namespace=3 string; selfLink=4 string; uid=5 string;
  resourceVersion=6 string; generation=7 int64; creationTimestamp=8 Time; deletionTimestamp=9 Time;
  deletionGracePeriodSeconds=10 int64?; labels=11 {string}; annotations=12 {string};
  ownerReferences=13 [OwnerReference]*uid; finalizers=14 [string]*; managedFields=17 [ManagedFieldsEntry]

OwnerReference: apiVersion=5 string; kind=1 string; name=3 string; uid=4 string; controller=6 bool?;
  blockOwnerDeletion=7 bool?

ManagedFieldsEntry: manager=1 string; operation=2 string; apiVersion=3 string; time=4 Time;
  fieldsType=6 string; fieldsV1=7 any; subresource=8 string

Condition: type=1 string; status=2 string; observedGeneration=3 int64; lastTransitionTime=4 Time;
  reason=5 string; message=6 string

LabelSelectorRequirement: key=1 string; operator=2 string; values=3 [string]

DeleteOptions: gracePeriodSeconds=1 int64?; preconditions=2 Preconditions; orphanDependents=3 bool?;
  propagationPolicy=4 string?; dryRun=5 [string]; ignoreStoreReadErrorWithClusterBreakingPotential=6 bool?

Preconditions: uid=1 string?; resourceVersion=2 string?

Namespace: metadata=1 ObjectMeta; spec=2 NamespaceSpec; status=3 NamespaceStatus

NamespaceSpec: finalizers=1 [string]

NamespaceStatus: phase=1 string; conditions=2 [NamespaceCondition]*type

NamespaceCondition: type=1 string; status=2 string; lastTransitionTime=4 Time; reason=5 string;
  message=6 string

Secret: metadata=1 ObjectMeta; immutable=5 bool?; data=2 {bytes}; stringData=4 {string}; type=3 string

ConfigMap: metadata=1 ObjectMeta; immutable=4 bool?; data=2 {string}; binaryData=3 {bytes}

Service: metadata=1 ObjectMeta; spec=2 ServiceSpec; status=3 ServiceStatus

ServiceSpec: ports=1 [ServicePort]*port; selector=2 {string}; clusterIP=3 string; clusterIPs=18 [string];
  type=4 string; externalIPs=5 [string]; sessionAffinity=7 string; loadBalancerIP=8 string;
  loadBalancerSourceRanges=9 [string]; externalName=10 string; externalTrafficPolicy=11 string;
  healthCheckNodePort=12 int32; publishNotReadyAddresses=13 bool;
  sessionAffinityConfig=14 SessionAffinityConfig; ipFamilies=19 [string]; ipFamilyPolicy=17 string?;
  allocateLoadBalancerNodePorts=20 bool?; loadBalancerClass=21 string?; internalTrafficPolicy=22 string?;
  trafficDistribution=23 string?

ServicePort: name=1 string; protocol=2 string; appProtocol=6 string?; port=3 int32;
  targetPort=4 IntOrString; nodePort=5 int32

SessionAffinityConfig: clientIP=1 ClientIPConfig

ClientIPConfig: timeoutSeconds=1 int32?

ServiceStatus: loadBalancer=1 LoadBalancerStatus; conditions=2 [Condition]*type

LoadBalancerStatus: ingress=1 [LoadBalancerIngress]

LoadBalancerIngress: ip=1 string; hostname=2 string; ipMode=3 string?; ports=4 [PortStatus]

PortStatus: port=1 int32; protocol=2 string; error=3 string?

EndpointSlice: metadata=1 ObjectMeta; addressType=4 string; endpoints=2 [Endpoint]; ports=3 [EndpointPort]

Endpoint: addresses=1 [string]; conditions=2 EndpointConditions; hostname=3 string?;
  targetRef=4 ObjectReference; deprecatedTopology=5 {string}; nodeName=6 string?; zone=7 string?;
  hints=8 EndpointHints

EndpointConditions: ready=1 bool?; serving=2 bool?; terminating=3 bool?

EndpointHints: forZones=1 [ForZone]; forNodes=2 [ForNode]

ForZone: name=1 string

ForNode: name=1 string

EndpointPort: name=1 string?; protocol=2 string?; port=3 int32?; appProtocol=4 string?

ObjectReference: kind=1 string; namespace=2 string; name=3 string; uid=4 string; apiVersion=5 string;
  resourceVersion=6 string; fieldPath=7 string

Event: metadata=1 ObjectMeta; involvedObject=2 ObjectReference; reason=3 string; message=4 string;
  source=5 EventSource; firstTimestamp=6 Time; lastTimestamp=7 Time; count=8 int32; type=9 string;
  eventTime=10 MicroTime; series=11 EventSeries; action=12 string; related=13 ObjectReference;
  reportingComponent=14 string; reportingInstance=15 string

EventSource: component=1 string; host=2 string

EventSeries: count=1 int32; lastObservedTime=2 MicroTime

Ingress: metadata=1 ObjectMeta; spec=2 IngressSpec; status=3 IngressStatus

IngressSpec: ingressClassName=4 string?; defaultBackend=1 IngressBackend; tls=2 [IngressTLS];
  rules=3 [IngressRule]

IngressBackend: service=4 IngressServiceBackend; resource=3 TypedLocalObjectReference

IngressServiceBackend: name=1 string; port=2 ServiceBackendPort

ServiceBackendPort: name=1 string; number=2 int32

TypedLocalObjectReference: apiGroup=1 string?; kind=2 string; name=3 string

IngressTLS: hosts=1 [string]; secretName=2 string

IngressRule: host=1 string; ingressRuleValue=2 IngressRuleValue; http=1001 HTTPIngressRuleValue

IngressRuleValue: http=1 HTTPIngressRuleValue

HTTPIngressRuleValue: paths=1 [HTTPIngressPath]

HTTPIngressPath: path=1 string; pathType=3 string?; backend=2 IngressBackend; property=1001 {any}

IngressStatus: loadBalancer=1 IngressLoadBalancerStatus

IngressLoadBalancerStatus: ingress=1 [IngressLoadBalancerIngress]

IngressLoadBalancerIngress: ip=1 string; hostname=2 string; ports=4 [IngressPortStatus]

IngressPortStatus: port=1 int32; protocol=2 string; error=3 string?

IngressClass: metadata=1 ObjectMeta; spec=2 IngressClassSpec

IngressClassSpec: controller=1 string; parameters=2 IngressClassParametersReference

IngressClassParametersReference: apiGroup=1 string?; kind=2 string; name=3 string; scope=4 string?;
  namespace=5 string?

Lease: metadata=1 ObjectMeta; spec=2 LeaseSpec

LeaseSpec: holderIdentity=1 string?; leaseDurationSeconds=2 int32?; acquireTime=3 MicroTime;
  renewTime=4 MicroTime; leaseTransitions=5 int32?; strategy=6 string?; preferredHolder=7 string?

SelfSubjectAccessReview: metadata=1 ObjectMeta; spec=2 SelfSubjectAccessReviewSpec;
  status=3 SubjectAccessReviewStatus

SelfSubjectAccessReviewSpec: resourceAttributes=1 ResourceAttributes;
  nonResourceAttributes=2 NonResourceAttributes

ResourceAttributes: namespace=1 string; verb=2 string; group=3 string; version=4 string; resource=5 string;
  subresource=6 string; name=7 string; fieldSelector=8 FieldSelectorAttributes;
  labelSelector=9 LabelSelectorAttributes

FieldSelectorAttributes: rawSelector=1 string; requirements=2 [LabelSelectorRequirement]

LabelSelectorAttributes: rawSelector=1 string; requirements=2 [LabelSelectorRequirement]

NonResourceAttributes: path=1 string; verb=2 string

SubjectAccessReviewStatus: allowed=1 bool; denied=4 bool; reason=2 string; evaluationError=3 string

SelfSubjectReview: metadata=1 ObjectMeta; status=2 SelfSubjectReviewStatus

SelfSubjectReviewStatus: userInfo=1 UserInfo

UserInfo: username=1 string; uid=2 string; groups=3 [string]

SelfSubjectRulesReview: metadata=1 ObjectMeta; spec=2 SelfSubjectRulesReviewSpec;
  status=3 SubjectRulesReviewStatus

SelfSubjectRulesReviewSpec: namespace=1 string

SubjectRulesReviewStatus: resourceRules=1 [ResourceRule]; nonResourceRules=2 [NonResourceRule];
  incomplete=3 bool; evaluationError=4 string

ResourceRule: verbs=1 [string]; apiGroups=2 [string]; resources=3 [string]; resourceNames=4 [string]

NonResourceRule: verbs=1 [string]; nonResourceURLs=2 [string]
"""
)

# Go embeds IngressRuleValue: one message in protobuf, no level of its own in JSON.
INLINED: Final = frozenset({"ingressRuleValue"})
