{{- define "brokkr-agent.keySecret" -}}
{{- default (printf "%s-key" (include "brokkr.fullname" .)) .Values.key.existingSecret -}}
{{- end -}}

{{- define "brokkr-agent.tokenSecret" -}}
{{- if .Values.enrolment.existingSecret -}}
{{- .Values.enrolment.existingSecret -}}
{{- else if .Values.enrolment.token -}}
{{- printf "%s-token" (include "brokkr.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "brokkr-agent.config.own" -}}
agent:
  name: {{ default (include "brokkr.fullname" .) .Values.agent.name | quote }}
  {{- with .Values.agent.cluster }}
  cluster: {{ . | quote }}
  {{- end }}
{{- if include "brokkr-agent.tokenSecret" . }}
enrolment:
  token_file: /run/brokkr/enrolment/token
{{- end }}
broker:
  url: {{ .Values.broker.url | quote }}
  key_secret: "{{ .Release.Namespace }}/{{ include "brokkr-agent.keySecret" . }}"
  {{- if .Values.broker.ca.name }}
  ca_file: /run/brokkr/ca/ca.crt
  {{- end }}
  {{- with .Values.broker.proxy }}
  proxy: {{ . | quote }}
  {{- end }}
kubernetes:
  namespace: {{ .Release.Namespace | quote }}
  {{- if eq .Values.rbac.profile "namespaced" }}
  namespaces: {{ toJson .Values.rbac.namespaces }}
  {{- with .Values.rbac.namespaces }}
  default_namespace: {{ first . | quote }}
  {{- end }}
  {{- end }}
leader_election:
  enabled: {{ gt (int .Values.replicas) 1 }}
  lease_name: {{ include "brokkr.fullname" . | quote }}
server:
  listen: "0.0.0.0:8080"
metrics:
  enabled: {{ .Values.metrics.enabled }}
{{ include "brokkr.config.telemetry" . }}
{{- end -}}

{{- define "brokkr-agent.check" -}}
{{- include "brokkr.check" . -}}
{{- $config := .Values.config -}}
{{- range $path, $instead := dict "agent.name" "agent.name" "agent.cluster" "agent.cluster" "enrolment.token" "enrolment.existingSecret" "enrolment.token_file" "enrolment.existingSecret" "broker.url" "broker.url" "broker.key" "key.existingSecret" "broker.key_file" "key.existingSecret" "broker.key_secret" "key.existingSecret" "broker.ca_file" "broker.ca" "broker.proxy" "broker.proxy" "kubernetes.namespace" "the namespace of the release" "kubernetes.namespaces" "rbac.namespaces" "leader_election.enabled" "replicas" "server.listen" "service.port" -}}
{{- $parts := splitList "." $path -}}
{{- $section := default dict (get $config (index $parts 0)) -}}
{{- if hasKey $section (index $parts 1) -}}
{{- fail (printf "config.%s: the chart sets this; use %s" $path $instead) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.rbac.namespaces (ne .Values.rbac.profile "namespaced") -}}
{{- fail (printf "rbac.namespaces: the profile %s is for all namespaces; set rbac.profile to namespaced, or leave the list empty" .Values.rbac.profile) -}}
{{- end -}}
{{- end -}}

{{/* The rules for what is delivered, in each namespace of the profile `namespaced` and, with namespaces, in the whole cluster. */}}
{{- define "brokkr-agent.deliveryRules" -}}
{{- $verbs := list "get" "list" "watch" "create" "patch" "delete" -}}
- apiGroups: [""]
  resources: [{{ if .cluster }}namespaces, {{ end }}configmaps, secrets, services, serviceaccounts, persistentvolumeclaims]
  verbs: {{ toJson $verbs }}
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: {{ toJson $verbs }}
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: {{ toJson $verbs }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: {{ toJson $verbs }}
{{- if .cluster }}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: {{ toJson $verbs }}
{{- end }}
# Why an object is not healthy stands in these.
- {apiGroups: [""], resources: [pods, events], verbs: [get, list]}
# Work orders follow the pods of their Jobs, and keep the end of their logs.
- {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, watch]}
- {apiGroups: [apps], resources: [replicasets], verbs: [get, list]}
{{- if .cluster }}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
{{- end }}
# Work orders that build images: the agent asks Shipwright, and Tekton says how it goes.
- apiGroups: [shipwright.io]
  resources: [buildruns]
  verbs: {{ toJson $verbs }}
- {apiGroups: [tekton.dev], resources: [taskruns], verbs: [get, list, watch]}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A binding of the agent: dict with root, name, role and, for one in a namespace, namespace and kind of the role. */}}
{{- define "brokkr-agent.binding" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (hasKey . "namespace") }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "brokkr.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (hasKey . "namespace") }}
  name: {{ default .name .role }}
subjects:
  - kind: ServiceAccount
    name: {{ include "brokkr.serviceAccountName" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{- define "brokkr-agent.role" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (hasKey . "namespace") }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "brokkr.labels" .root | nindent 4 }}
rules:
{{- end -}}

{{/* Above what the agent itself takes to end. */}}
{{- define "brokkr-agent.graceSeconds" -}}
{{- $server := default dict .Values.config.server -}}
{{- $drain := hasKey $server "drain_seconds" | ternary $server.drain_seconds 20 -}}
{{- add (int $drain) 10 -}}
{{- end -}}

{{- define "brokkr-agent.mounts" -}}
- name: config
  mountPath: /etc/brokkr
  readOnly: true
{{- if include "brokkr-agent.tokenSecret" . }}
- name: enrolment
  mountPath: /run/brokkr/enrolment
  readOnly: true
{{- end }}
{{- if .Values.broker.ca.name }}
- name: broker-ca
  mountPath: /run/brokkr/ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "brokkr-agent.volumes" -}}
- name: config
  configMap:
    name: {{ include "brokkr.fullname" . }}
{{- with include "brokkr-agent.tokenSecret" . }}
# Optional: an agent that has its key does not miss it.
- name: enrolment
  secret:
    secretName: {{ . }}
    optional: true
    defaultMode: 0440
    items: [{key: {{ $.Values.enrolment.key }}, path: token}]
{{- end }}
{{- with .Values.broker.ca }}
{{- if .name }}
- name: broker-ca
  {{- if eq .kind "Secret" }}
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
  {{- else }}
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
  {{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.tracing.collector.mode "sidecar" }}
{{ include "brokkr.collector.volumes" . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
