{{/* The collector beside the daemon: on loopback, so that nobody else can send to it. */}}

{{- define "brokkr.collector.config" -}}
{{- $sidecar := .Values.tracing.collector.sidecar -}}
{{- $exporter := ternary "otlp_http" "otlp_grpc" (eq $sidecar.protocol "http/protobuf") -}}
{{- $config := include "brokkr.collector.base" (dict "root" . "sidecar" $sidecar "exporter" $exporter) | fromYaml -}}
{{- mustMergeOverwrite $config (deepCopy $sidecar.extraConfig) | toYaml -}}
{{- end -}}

{{- define "brokkr.collector.base" -}}
{{- $sidecar := .sidecar -}}
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
  file_storage/queue:
    directory: /var/lib/otelcol/queue
    create_directory: true
    timeout: 10s
    compaction:
      on_start: true
      on_rebound: true
      directory: /var/lib/otelcol/queue
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:4317
      http:
        endpoint: 127.0.0.1:4318
processors:
  # First, so that a full collector refuses at its door and the daemon keeps or counts what it could not send.
  memory_limiter:
    check_interval: 1s
    limit_percentage: 80
    spike_limit_percentage: 20
  resource:
    attributes:
      - {key: k8s.namespace.name, value: "${env:K8S_NAMESPACE}", action: upsert}
      - {key: k8s.pod.name, value: "${env:K8S_POD}", action: upsert}
      - {key: k8s.node.name, value: "${env:K8S_NODE}", action: upsert}
      {{- range $key, $value := $sidecar.resourceAttributes }}
      - {key: {{ $key | quote }}, value: {{ $value | quote }}, action: upsert}
      {{- end }}
  # The daemons put no secrets into spans; this is the second lock on that door.
  redaction:
    {{- $ours := .root.Files.Get "files/redaction.yaml" | fromYaml }}
    {{- $keys := concat $ours.blocked_key_patterns $sidecar.redaction.blockedKeys }}
    {{- $values := concat $ours.blocked_values $sidecar.redaction.blockedValues }}
    {{- merge (dict "blocked_key_patterns" $keys "blocked_values" $values) $ours | toYaml | nindent 4 }}
exporters:
  {{ .exporter }}:
    endpoint: {{ $sidecar.endpoint | quote }}
    compression: gzip
    {{- with $sidecar.headersSecret }}
    headers:
      {{- range $header, $_ := .headers }}
      {{ $header | quote }}: "${env:{{ include "brokkr.collector.headerVariable" $header }}}"
      {{- end }}
    {{- end }}
    tls:
      insecure: {{ $sidecar.tls.insecure }}
      {{- if $sidecar.tls.caSecret }}
      ca_file: /etc/otelcol/ca/ca.crt
      {{- end }}
      {{- if $sidecar.tls.clientSecret }}
      cert_file: /etc/otelcol/client/tls.crt
      key_file: /etc/otelcol/client/tls.key
      reload_interval: 5m
      {{- end }}
      {{- with $sidecar.tls.serverName }}
      server_name_override: {{ . | quote }}
      {{- end }}
    # Repeated for ever: the queue on the volume is the limit.
    retry_on_failure:
      enabled: true
      initial_interval: 5s
      max_interval: 30s
      max_elapsed_time: 0s
    sending_queue:
      enabled: true
      storage: file_storage/queue
      sizer: requests
      queue_size: {{ $sidecar.queue.requests | int64 }}
      batch:
        flush_timeout: 1s
        sizer: items
        min_size: 512
        max_size: 4096
service:
  extensions: [health_check, file_storage/queue]
  telemetry:
    metrics:
      level: normal
      readers:
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: 8888
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, resource, redaction]
      exporters: [{{ .exporter }}]
{{- end -}}

{{- define "brokkr.collector.headerVariable" -}}
HEADER_{{ . | upper | replace "-" "_" | replace "." "_" }}
{{- end -}}

{{/* As an init container that goes on (Kubernetes 1.29), so that it is there before the daemon and after it. */}}
{{- define "brokkr.collector.container" -}}
{{- $sidecar := .Values.tracing.collector.sidecar -}}
- name: collector
  image: {{ include "brokkr.image" (dict "image" $sidecar.image "version" "") }}
  imagePullPolicy: {{ $sidecar.image.pullPolicy }}
  restartPolicy: Always
  args: ["--config=/etc/otelcol/config.yaml"]
  env:
    # Go collects garbage harder from here on, before the kernel ends the collector.
    - name: GOMEMLIMIT
      value: {{ $sidecar.goMemoryLimit | quote }}
    - name: K8S_NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    - name: K8S_POD
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - name: K8S_NODE
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    {{- with $sidecar.headersSecret }}
    {{- $secret := .name }}
    {{- range $header, $key := .headers }}
    - name: {{ include "brokkr.collector.headerVariable" $header }}
      valueFrom:
        secretKeyRef:
          name: {{ $secret }}
          key: {{ $key }}
    {{- end }}
    {{- end }}
  ports:
    - name: otel-metrics
      containerPort: 8888
    - name: otel-health
      containerPort: 13133
  startupProbe:
    httpGet: {path: /, port: otel-health}
    periodSeconds: 2
    failureThreshold: 30
  readinessProbe:
    httpGet: {path: /, port: otel-health}
  securityContext:
    {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  resources:
    {{- toYaml $sidecar.resources | nindent 4 }}
  volumeMounts:
    - name: collector-config
      mountPath: /etc/otelcol
      readOnly: true
    - name: collector-queue
      mountPath: /var/lib/otelcol
{{- end -}}

{{- define "brokkr.collector.volumes" -}}
{{- $sidecar := .Values.tracing.collector.sidecar -}}
# One volume of three sources: a mount below a read-only mount would need a folder that is not there.
- name: collector-config
  projected:
    sources:
      - configMap:
          name: {{ include "brokkr.fullname" . }}-collector
          items: [{key: config.yaml, path: config.yaml}]
      {{- with $sidecar.tls.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: ca/ca.crt}]
      {{- end }}
      {{- with $sidecar.tls.clientSecret }}
      - secret:
          name: {{ . }}
          items: [{key: tls.crt, path: client/tls.crt}, {key: tls.key, path: client/tls.key}]
      {{- end }}
- name: collector-queue
  emptyDir:
    sizeLimit: {{ $sidecar.queue.volumeSize }}
{{- end -}}

{{- define "brokkr.collector.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "brokkr.fullname" . }}-collector
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "brokkr.labels" . | nindent 4 }}
data:
  config.yaml: |
    {{- include "brokkr.collector.config" . | nindent 4 }}
{{- end -}}
