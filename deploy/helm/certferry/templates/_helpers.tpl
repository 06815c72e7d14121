{{/* Named templates that take a dict have the keys root (the chart's scope), name (of the component) and, for Pods,
     values (of the component). */}}

{{- define "certferry.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "certferry.component" -}}
{{- printf "%s-%s" (include "certferry.fullname" .root) .name -}}
{{- end -}}

{{- define "certferry.selector" -}}
app.kubernetes.io/name: certferry
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "certferry.labels" -}}
{{ include "certferry.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "certferry.metadata" -}}
name: {{ include "certferry.component" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "certferry.labels" . | nindent 2 }}
{{- end -}}

{{/* Takes root and image, an entry of values.images. */}}
{{- define "certferry.image" -}}
{{- with .image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.root.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "certferry.elbUrl" -}}
https://{{ include "certferry.fullname" . }}-elb.{{ .Release.Namespace }}.svc:8443
{{- end -}}

{{/* The entry of “clusters” for this cluster. */}}
{{- define "certferry.cluster" -}}
{{- $elb := deepCopy .Values.cluster.elb -}}
{{- if .Values.elb.enabled }}{{ $elb = dict "url" (include "certferry.elbUrl" .) }}{{ end -}}
{{- if include "certferry.caVolume" . }}{{ $_ := set $elb "ca" "/run/secrets/elb-ca/ca.crt" }}{{ end -}}
{{- $_ := set $elb "credentials_file" "/run/secrets/certferry/elb.json" -}}
{{- $entry := dict "name" .Values.cluster.name "elb" $elb -}}
{{- with .Values.cluster.defaultLoadBalancer }}{{ $_ := set $entry "default_loadbalancer" . }}{{ end -}}
{{- toYaml $entry -}}
{{- end -}}

{{/* The volume with ca.crt of the ELB, or nothing. */}}
{{- define "certferry.caVolume" -}}
{{- if .Values.elb.enabled -}}
secret: {secretName: {{ .Values.elb.tlsSecret }}, items: [{key: ca.crt, path: ca.crt}]}
{{- else if .Values.cluster.caSecret -}}
secret: {secretName: {{ .Values.cluster.caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
{{- else if .Values.cluster.caConfigMap -}}
configMap: {name: {{ .Values.cluster.caConfigMap }}}
{{- end -}}
{{- end -}}

{{- define "certferry.podAnnotations" -}}
{{- $settings := include (print .root.Template.BasePath "/settings.yaml") .root | sha256sum -}}
{{- toYaml (merge (dict "checksum/settings" $settings) .values.podAnnotations) -}}
{{- end -}}

{{- define "certferry.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "certferry.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where Pods are scheduled. */}}
{{- define "certferry.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  {{- range .root.Values.topologySpread.topologyKeys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "certferry.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "certferry.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "certferry.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels: {{- include "certferry.selector" . | nindent 6 }}
{{- end -}}

{{/* Peers of a NetworkPolicy: our own Pods of the components in `of`, and `from`. */}}
{{- define "certferry.peers" -}}
{{- range .of }}
- podSelector:
    matchLabels: {{- include "certferry.selector" (dict "root" $.root "name" .) | nindent 6 }}
{{- end }}
{{- with .from }}
{{ toYaml . }}
{{- end }}
{{- end -}}
