{{/* The pod of `serve` and of `worker`: (dict "root" $ "component" "serve" "of" .Values.serve). */}}
{{- define "keyturn.pod" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $sqlite := eq $values.database.kind "sqlite" }}
metadata:
  labels:
    {{- include "keyturn.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not $values.config.existingConfigMap }}
    keyturn.dev/config: {{ list $values.config.files $values.config.runbooks | toJson | sha256sum | quote }}
    {{- end }}
    kubectl.kubernetes.io/default-container: keyturn
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "keyturn.account" $root }}
  automountServiceAccountToken: {{ include "keyturn.token" $root }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "keyturn.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ .component }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: keyturn
      image: {{ include "keyturn.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ .component }}]
      ports:
        - {name: http, containerPort: 8080}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        - {name: KEYTURN_CONFIG, value: /etc/keyturn/keyturn.yml}
        - {name: KEYTURN_HTTP, value: "0.0.0.0:8080"}
        - {name: KEYTURN_TRANSPORT, value: {{ $values.slack.transport }}}
        - {name: KEYTURN_LOG_LEVEL, value: {{ $values.logLevel }}}
        - {name: KEYTURN_LOG_FORMAT, value: json}
        {{- if $values.keys.existingSecret }}
        - {name: KEYTURN_KEYS, value: /etc/keyturn-keys}
        {{- end }}
        - {name: KEYTURN_WITNESS, value: {{ ternary "/var/lib/keyturn-witness" "/var/lib/keyturn" (ne $values.witness.existingClaim "") }}/audit-heads.ndjson}
        - name: SLACK_BOT_TOKEN
          valueFrom: {secretKeyRef: {name: {{ $values.existingSecret }}, key: SLACK_BOT_TOKEN}}
        {{- if eq .component "serve" }}
        {{- $token := ternary "SLACK_SIGNING_SECRET" "SLACK_APP_TOKEN" (eq $values.slack.transport "http") }}
        - name: {{ $token }}
          valueFrom: {secretKeyRef: {name: {{ $values.existingSecret }}, key: {{ $token }}}}
        {{- end }}
        {{- if $sqlite }}
        - {name: KEYTURN_DATABASE_URL, value: "sqlite:////var/lib/keyturn/keyturn.db"}
        {{- else }}
        - name: KEYTURN_DATABASE_URL
          valueFrom: {secretKeyRef: {name: {{ $values.existingSecret }}, key: KEYTURN_DATABASE_URL}}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.adapterSecrets }}
      envFrom:
        {{- range . }}
        - secretRef: {name: {{ . }}}
        {{- end }}
      {{- end }}
      # It answers when migrations are done and Slack is connected.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 3
        timeoutSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 15
        timeoutSeconds: 5
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
      resources:
        {{- toYaml .of.resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/keyturn, readOnly: true}
        {{- if $values.keys.existingSecret }}
        - {name: keys, mountPath: /etc/keyturn-keys, readOnly: true}
        {{- end }}
        {{- if $values.discovery.enabled }}
        - {name: discovery, mountPath: /etc/keyturn-discovery, readOnly: true}
        {{- end }}
        - {name: data, mountPath: /var/lib/keyturn}
        {{- if $values.witness.existingClaim }}
        - {name: witness, mountPath: /var/lib/keyturn-witness}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      projected:
        sources:
          - configMap:
              name: {{ include "keyturn.config" $root }}
          {{- if $values.config.runbooks }}
          - configMap:
              name: {{ include "keyturn.name" $root }}-runbooks
              items:
                {{- range $name, $_ := $values.config.runbooks }}
                - {key: {{ $name | quote }}, path: {{ printf "runbooks/%s" $name | quote }}}
                {{- end }}
          {{- end }}
    {{- if $values.keys.existingSecret }}
    - name: keys
      secret: {secretName: {{ $values.keys.existingSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if $values.discovery.enabled }}
    - name: discovery
      projected:
        defaultMode: 0440
        sources:
          - configMap:
              name: {{ include "keyturn.name" $root }}-discovery
          - secret:
              name: {{ include "keyturn.name" $root }}-discovery
              items:
                - {key: token, path: token}
                - {key: ca.crt, path: ca.crt}
    {{- end }}
    {{- if not $sqlite }}
    - name: data
      emptyDir: {sizeLimit: 256Mi}
    {{- end }}
    {{- with $values.witness.existingClaim }}
    - name: witness
      persistentVolumeClaim: {claimName: {{ . }}}
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
