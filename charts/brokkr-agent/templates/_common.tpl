{{/* What both charts have in common. The source is charts/common; `make generate` copies it into each chart, because a chart must be
whole when it is packaged. */}}

{{- define "brokkr.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "brokkr.fullname" -}}
{{- $name := include "brokkr.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "brokkr.selectorLabels" -}}
app.kubernetes.io/name: {{ include "brokkr.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "brokkr.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "brokkr.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .Chart.Name | trimPrefix "brokkr-" }}
app.kubernetes.io/part-of: brokkr
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "brokkr.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "brokkr.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The reference of an image: dict with image and, for our own, the version that stands in for an empty tag. */}}
{{- define "brokkr.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- if $image.registry -}}{{- $name = printf "%s/%s" $image.registry $name -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .version $image.tag | toString) -}}
{{- end -}}
{{- end -}}

{{/* One table of config.toml: dict with path and table. JSON's strings, numbers and lists are TOML's too; what is null is left out. */}}
{{- define "brokkr.toml" -}}
{{- $path := .path -}}
{{- $tables := dict -}}
[{{ $path }}]
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $_ := set $tables $key $value }}
{{- else if not (kindIs "invalid" $value) }}
{{ include "brokkr.toml.key" $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $tables }}

{{ include "brokkr.toml" (dict "path" (printf "%s.%s" $path (include "brokkr.toml.key" $key)) "table" $value) }}
{{- end }}
{{- end -}}

{{- define "brokkr.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end -}}

{{/* The whole of config.toml: what the chart decides (JSON of the chart's own helper), and over it what the person wrote in `config`. */}}
{{- define "brokkr.config" -}}
{{- $config := mustMergeOverwrite (include (printf "%s.config.own" .Chart.Name) . | fromYaml) (deepCopy .Values.config) -}}
{{- range $section, $table := $config }}
{{- if $table }}
{{ include "brokkr.toml" (dict "path" $section "table" $table) }}
{{ end }}
{{- end }}
{{- end -}}

{{/* `[telemetry]` as the chart decides it. */}}
{{- define "brokkr.config.telemetry" -}}
{{- $collector := .Values.tracing.collector -}}
{{- if or (eq $collector.mode "sidecar") (eq $collector.mode "operator") -}}
telemetry:
  enabled: true
  endpoint: "http://127.0.0.1:4317"
{{- else if eq $collector.mode "gateway" -}}
telemetry:
  enabled: true
  endpoint: {{ $collector.gateway.endpoint | quote }}
  protocol: {{ $collector.gateway.protocol | quote }}
{{- end -}}
{{- end -}}

{{/* What contradicts itself ends here, with a sentence that says what to do. */}}
{{- define "brokkr.check" -}}
{{- $collector := .Values.tracing.collector -}}
{{- $annotations := merge (dict) .Values.podAnnotations -}}
{{- if and (ne $collector.mode "operator") (hasKey $annotations "sidecar.opentelemetry.io/inject") (ne (get $annotations "sidecar.opentelemetry.io/inject" | toString) "false") -}}
{{- fail (printf "podAnnotations: the OpenTelemetry Operator would inject a collector beside tracing.collector.mode %q; set tracing.collector.mode to operator, or take the annotation away" $collector.mode) -}}
{{- end -}}
{{- if and (eq $collector.mode "gateway") (not $collector.gateway.endpoint) -}}
{{- fail "tracing.collector.gateway.endpoint: mode gateway needs the address of the collector, such as http://otel-gateway.observability:4317" -}}
{{- end -}}
{{- if and (eq $collector.mode "sidecar") (not $collector.sidecar.endpoint) -}}
{{- fail "tracing.collector.sidecar.endpoint: mode sidecar needs the address that the sidecar sends to, such as otel-gateway.observability:4317" -}}
{{- end -}}
{{- $telemetry := default dict .Values.config.telemetry -}}
{{- if and (ne $collector.mode "none") (or $telemetry.endpoint (hasKey $telemetry "enabled")) -}}
{{- fail (printf "config.telemetry: with tracing.collector.mode %q the chart sets enabled and endpoint; leave them out, or set the mode to none" $collector.mode) -}}
{{- end -}}
{{- if and (eq $collector.mode "none") $telemetry.enabled (not $telemetry.endpoint) (ne (default "otlp" $telemetry.exporter) "none") -}}
{{- fail "config.telemetry.endpoint: nobody listens on localhost in the pod; name the collector, or choose tracing.collector.mode" -}}
{{- end -}}
{{- if $telemetry.headers -}}
{{- fail "config.telemetry.headers: headers are secrets and a ConfigMap is not; use tracing.headersSecret" -}}
{{- end -}}
{{- if and (hasKey .Values.config "metrics") (hasKey .Values.config.metrics "enabled") -}}
{{- fail "config.metrics.enabled: use metrics.enabled, so that Service and monitors agree" -}}
{{- end -}}
{{- $metrics := .Values.metrics -}}
{{- if not $metrics.enabled -}}
{{- range $name := list "serviceMonitor" "podMonitor" -}}
{{- $monitor := get $metrics $name -}}
{{- if and $monitor $monitor.enabled -}}
{{- fail (printf "metrics.%s.enabled: there is nothing to scrape while metrics.enabled is false" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $metrics.serviceMonitor.enabled (get $metrics "podMonitor") $metrics.podMonitor.enabled -}}
{{- fail "metrics.podMonitor.enabled: a ServiceMonitor and a PodMonitor would scrape each pod twice; enable one of them" -}}
{{- end -}}
{{- end -}}

{{- define "brokkr.podAnnotations" -}}
checksum/config: {{ include "brokkr.config" . | sha256sum }}
{{- $collector := .Values.tracing.collector }}
{{- if eq $collector.mode "sidecar" }}
checksum/collector: {{ include "brokkr.collector.config" . | sha256sum }}
{{- end }}
{{- if eq $collector.mode "operator" }}
sidecar.opentelemetry.io/inject: {{ $collector.operator.inject | quote }}
{{- end }}
{{- $mesh := .Values.mesh }}
{{- if eq $mesh.type "istio" }}
sidecar.istio.io/inject: "true"
{{- with $mesh.istio.proxyConfig }}
proxy.istio.io/config: {{ toYaml . | quote }}
{{- end }}
{{- else if eq $mesh.type "linkerd" }}
linkerd.io/inject: enabled
resource.opentelemetry.io/service.name: {{ .Chart.Name | quote }}
resource.opentelemetry.io/service.namespace: {{ .Release.Namespace | quote }}
{{- with $mesh.linkerd.skipOutboundPorts }}
config.linkerd.io/skip-outbound-ports: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Spread over nodes and zones as far as there are any, unless the person says otherwise. */}}
{{- define "brokkr.topologySpread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{ toYaml .Values.topologySpreadConstraints }}
{{- else -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "brokkr.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Environment that both daemons get: where they run, headers for the collector, and what the person adds. */}}
{{- define "brokkr.env" -}}
- name: K8S_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: K8S_POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: K8S_NAMESPACE_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: K8S_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: K8S_DEPLOYMENT_NAME
  value: {{ include "brokkr.fullname" . }}
{{- with .Values.tracing.headersSecret }}
- name: BROKKR__TELEMETRY__HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "brokkr.monitor.endpoint" -}}
path: /metrics
{{- if .root.Values.metrics.enabled }}
interval: {{ .monitor.interval }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
relabelings:
  # Rules and dashboards know the targets by these jobs.
  - targetLabel: job
    replacement: {{ .job }}
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "brokkr.prometheusrule" -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ include "brokkr.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "brokkr.labels" . | nindent 4 }}
    {{- with .Values.metrics.prometheusRule.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  groups:
  {{- $wanted := .Values.metrics.prometheusRule.groups }}
  {{- range (.Files.Get "files/rules.yaml" | fromYaml).groups }}
  {{- if has .name $wanted }}
    - {{- toYaml . | nindent 6 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Each dashboard that the chart carries, as a ConfigMap that the sidecar of Grafana finds. */}}
{{- define "brokkr.dashboards" -}}
{{- $dashboards := .Values.metrics.dashboards -}}
{{- range $path, $_ := .Files.Glob "files/dashboards/*.json" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "brokkr.fullname" $ }}-{{ base $path | trimSuffix ".json" }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "brokkr.labels" $ | nindent 4 }}
    {{- toYaml $dashboards.labels | nindent 4 }}
  {{- with $dashboards.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
data:
  {{ base $path }}: |-
    {{- $.Files.Get $path | nindent 4 }}
{{- end }}
{{- end -}}
