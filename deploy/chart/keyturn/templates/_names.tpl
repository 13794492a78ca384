{{- define "keyturn.name" -}}
{{- if contains "keyturn" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-keyturn" (.Release.Name | trunc 40 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{- define "keyturn.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "keyturn.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "keyturn.config" -}}
{{- .Values.config.existingConfigMap | default (printf "%s-files" (include "keyturn.name" .)) }}
{{- end }}

{{- define "keyturn.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "keyturn.selector" -}}
app.kubernetes.io/name: keyturn
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keyturn.labels" -}}
{{ include "keyturn.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Whether pods need a token of their service account. */}}
{{- define "keyturn.token" -}}
{{- if or .Values.rbac.namespaces .Values.rbac.cluster }}true{{ else }}false{{ end }}
{{- end }}

{{/* Whether a role lets rotations create Secrets, which the admission policy then limits. */}}
{{- define "keyturn.guarded" -}}
{{- $creates := false }}
{{- range .Values.rbac.namespaces }}
{{- range . }}
{{- if and (has "secrets" .resources) (has "create" .verbs) }}{{ $creates = true }}{{ end }}
{{- end }}
{{- end }}
{{- and .Values.rbac.create .Values.rbac.admissionPolicy $creates }}
{{- end }}

{{/* What contradicts itself is refused before anything is rendered. */}}
{{- define "keyturn.check" -}}
{{- $sqlite := eq .Values.database.kind "sqlite" }}
{{- if and $sqlite (ne (int .Values.serve.replicas) 1) }}
{{- fail "SQLite is one file for one process: set serve.replicas to 1, or database.kind to postgresql." }}
{{- end }}
{{- if and $sqlite (gt (int .Values.worker.replicas) 0) }}
{{- fail "SQLite is one file for one process: set worker.replicas to 0, or database.kind to postgresql." }}
{{- end }}
{{- if and (not $sqlite) (not .Values.keys.existingSecret) }}
{{- fail "On PostgreSQL all replicas share one audit key: make it with `keyturn init`, put it into a Secret, and name that in keys.existingSecret." }}
{{- end }}
{{- if and .Values.config.existingConfigMap (or .Values.config.files .Values.config.runbooks) }}
{{- fail "Give config.existingConfigMap or config.files with config.runbooks, not both." }}
{{- end }}
{{- if not (or .Values.config.existingConfigMap (hasKey .Values.config.files "keyturn.yml")) }}
{{- fail "There is no keyturn.yml: name a ConfigMap in config.existingConfigMap, or say --set-file config.files.keyturn\\.yml=keyturn.yml." }}
{{- end }}
{{- if and .Values.rbac.create .Values.discovery.enabled (eq (include "keyturn.account" .) (printf "%s-discovery" (include "keyturn.name" .))) }}
{{- fail "Rotations must not run as the account of discovery: choose another serviceAccount.name." }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.ingressFrom) }}
{{- if eq .Values.slack.transport "http" }}
{{- fail "Slack's requests come in over http, and nobody is let in: name your ingress in networkPolicy.ingressFrom." }}
{{- end }}
{{- if .Values.serviceMonitor.enabled }}
{{- fail "Prometheus is to read the metrics, and nobody is let in: name it in networkPolicy.ingressFrom." }}
{{- end }}
{{- end }}
{{- range $namespace, $rules := .Values.rbac.namespaces }}
{{- range $rules }}
{{- if and (has "secrets" .resources) (not .resourceNames) (ne (join "," .verbs) "create") }}
{{- fail (printf "rbac.namespaces.%s grants %s on Secrets without resourceNames: rotations have Secrets by name only. Take what `keyturn permissions --values` prints." $namespace (join ", " .verbs)) }}
{{- end }}
{{- if and (has "serviceaccounts/token" .resources) (not .resourceNames) }}
{{- fail (printf "rbac.namespaces.%s grants tokens of every service account: name those that are rotated in resourceNames." $namespace) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
