{{- define "brokkr-broker.config.own" -}}
server:
  listen: "0.0.0.0:3000"
  {{- if .Values.tls.enabled }}
  tls:
    certificate_file: /run/brokkr/tls/tls.crt
    key_file: /run/brokkr/tls/tls.key
  {{- end }}
database:
  {{- if eq .Values.database.type "sqlite" }}
  url: "sqlite:/var/lib/brokkr/brokkr.db"
  {{- end }}
  migrate: {{ eq .Values.migration.mode "start" }}
bootstrap:
  admin_key_file: /run/brokkr/bootstrap/admin.key
{{- if include "brokkr-broker.encryptionSecret" . }}
encryption:
  keys_file: /run/brokkr/encryption/keys
{{- end }}
metrics:
  enabled: {{ .Values.metrics.enabled }}
{{ include "brokkr.config.telemetry" . }}
{{- end -}}

{{- define "brokkr-broker.check" -}}
{{- include "brokkr.check" . -}}
{{- $several := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- if and (eq .Values.database.type "sqlite") $several -}}
{{- fail "database.type: SQLite is for one broker; for several set database.type to postgresql, or replicas to 1 and autoscaling.enabled to false" -}}
{{- end -}}
{{- if and (eq .Values.database.type "postgresql") (not .Values.database.postgresql.existingSecret) -}}
{{- fail "database.postgresql.existingSecret: name the Secret that holds the DSN" -}}
{{- end -}}
{{- if and (eq .Values.database.type "sqlite") (eq .Values.migration.mode "hook") -}}
{{- fail "migration.mode: a Job cannot reach the broker's SQLite file; use initContainer or start" -}}
{{- end -}}
{{- $config := .Values.config -}}
{{- $set := list -}}
{{- range $path, $instead := dict "database.url" "database" "database.listen_url" "database.postgresql.listenKey" "database.migrate" "migration.mode" "encryption.keys" "encryption.existingSecret" "encryption.keys_file" "encryption.existingSecret" "bootstrap.admin_key_file" "bootstrap.existingSecret" "server.listen" "service.port" "server.tls" "tls" -}}
{{- $parts := splitList "." $path -}}
{{- $section := default dict (get $config (index $parts 0)) -}}
{{- if hasKey $section (index $parts 1) -}}
{{- fail (printf "config.%s: the chart sets this; use %s" $path $instead) -}}
{{- end -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- if and (not .Values.tls.existingSecret) (not .Values.tls.certManager.enabled) -}}
{{- fail "tls.existingSecret: name the Secret with the certificate, or set tls.certManager.enabled" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: name the issuer" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts: an Ingress needs a host" -}}
{{- end -}}
{{- if and .Values.gatewayApi.enabled (not .Values.gatewayApi.parentRefs) -}}
{{- fail "gatewayApi.parentRefs: an HTTPRoute needs a Gateway" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas: is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}

{{- define "brokkr-broker.adminSecret" -}}
{{- default (printf "%s-admin" (include "brokkr.fullname" .)) .Values.bootstrap.existingSecret -}}
{{- end -}}

{{/* Empty with SQLite, which keeps a key beside its database. */}}
{{- define "brokkr-broker.encryptionSecret" -}}
{{- if .Values.encryption.existingSecret -}}
{{- .Values.encryption.existingSecret -}}
{{- else if eq .Values.database.type "postgresql" -}}
{{- printf "%s-encryption" (include "brokkr.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "brokkr-broker.tlsSecret" -}}
{{- default (printf "%s-tls" (include "brokkr.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{- define "brokkr-broker.claim" -}}
{{- default (include "brokkr.fullname" .) .Values.database.sqlite.persistence.existingClaim -}}
{{- end -}}

{{/* Above what the broker itself takes to end, so that the kubelet never cuts a request. */}}
{{- define "brokkr-broker.graceSeconds" -}}
{{- $server := default dict .Values.config.server -}}
{{- $delay := hasKey $server "drain_delay_seconds" | ternary $server.drain_delay_seconds 0 -}}
{{- $drain := hasKey $server "drain_seconds" | ternary $server.drain_seconds 20 -}}
{{- add (int $delay) (int $drain) 10 -}}
{{- end -}}

{{- define "brokkr-broker.databaseEnv" -}}
{{- if eq .Values.database.type "postgresql" }}
{{- with .Values.database.postgresql }}
- name: BROKKR__DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- if .listenKey }}
- name: BROKKR__DATABASE__LISTEN_URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .listenKey }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "brokkr-broker.mounts" -}}
- name: config
  mountPath: /etc/brokkr
  readOnly: true
- name: bootstrap
  mountPath: /run/brokkr/bootstrap
  readOnly: true
{{- if include "brokkr-broker.encryptionSecret" . }}
- name: encryption
  mountPath: /run/brokkr/encryption
  readOnly: true
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: /run/brokkr/tls
  readOnly: true
{{- end }}
{{- if eq .Values.database.type "sqlite" }}
- name: data
  mountPath: /var/lib/brokkr
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "brokkr-broker.volumes" -}}
- name: config
  configMap:
    name: {{ include "brokkr.fullname" . }}
- name: bootstrap
  secret:
    secretName: {{ include "brokkr-broker.adminSecret" . }}
    defaultMode: 0440
{{- with include "brokkr-broker.encryptionSecret" . }}
- name: encryption
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "brokkr-broker.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- if eq .Values.database.type "sqlite" }}
- name: data
  {{- if .Values.database.sqlite.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "brokkr-broker.claim" . }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
# SQLite sorts what does not fit into memory there.
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if eq .Values.tracing.collector.mode "sidecar" }}
{{ include "brokkr.collector.volumes" . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
