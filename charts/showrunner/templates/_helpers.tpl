{{- define "showrunner.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels of a component: (list $ "gateway"), or (list $ "") for what belongs to none. */}}
{{- define "showrunner.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ if index . 1 }}{{ include "showrunner.selector" . }}{{ else }}app.kubernetes.io/name: showrunner
app.kubernetes.io/instance: {{ $root.Release.Name }}{{ end }}
{{- end }}

{{- define "showrunner.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: showrunner
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "showrunner.image" -}}
{{- $repository := required "image.repository is not set: build the image (docker build), push it, and say where it is with --set image.repository=registry.example.com/showrunner" .Values.image.repository -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "showrunner.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{ trimSuffix "/" .Values.publicUrl }}
{{- else if .Values.ingress.enabled -}}
{{ ternary "https" "http" (ne .Values.ingress.tlsSecretName "") }}://{{ required "ingress.host is not set: say under which name people reach the gateway" .Values.ingress.host }}
{{- else if .Values.httpRoute.enabled -}}
https://{{ first .Values.httpRoute.hostnames }}
{{- else -}}
{{ ternary "https" "http" (ne .Values.gateway.tls.secretName "") }}://{{ include "showrunner.fullname" . }}-gateway.{{ .Release.Namespace }}.svc
{{- $port := int .Values.gateway.service.port }}
{{- if not (eq $port (ternary 443 80 (ne .Values.gateway.tls.secretName ""))) }}:{{ $port }}{{ end }}
{{- end -}}
{{- end }}

{{/* The ConfigMap with a customer's own keys. */}}
{{- define "showrunner.customerJwks" -}}
{{- $customer := .Values.tokens.customer -}}
{{- if $customer.existingConfigMap -}}
{{ $customer.existingConfigMap }}
{{- else -}}
{{- $_ := required "tokens.customer.issuer is set, but neither tokens.customer.jwks nor tokens.customer.existingConfigMap: give the issuer's public keys" $customer.jwks -}}
{{ include "showrunner.fullname" . }}-customer-jwks
{{- end -}}
{{- end }}

{{/* What the pods of a component have in common: (list $ "gateway" .Values.gateway). */}}
{{- define "showrunner.podSettings" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "showrunner.fullname" $root }}-{{ index . 1 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "showrunner.selector" $ | nindent 8 }}
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of their containers: (list $ .Values.gateway). */}}
{{- define "showrunner.containerSettings" -}}
{{- $root := index . 0 -}}
image: {{ include "showrunner.image" $root }}
{{- with $root.Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml (index . 1).resources | nindent 2 }}
{{- end }}

{{- define "showrunner.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 5
{{- end }}
