{{- define "strayd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that -scorer and a ReplicaSet's hash still fit into 63. */}}
{{- define "strayd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "strayd.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "strayd.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "strayd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "strayd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "strayd.labels" -}}
{{ include "strayd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "strayd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "strayd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The component that scores, and the name of its Deployment. */}}
{{- define "strayd.scoringComponent" -}}
{{- eq .Values.mode "split" | ternary "scorer" "all" -}}
{{- end -}}

{{- define "strayd.scoringName" -}}
{{- include "strayd.fullname" . -}}{{- if eq .Values.mode "split" -}}-scorer{{- end -}}
{{- end -}}

{{/* The Deployment that trains. */}}
{{- define "strayd.trainingName" -}}
{{- include "strayd.fullname" . -}}{{- if eq .Values.mode "split" -}}-trainer{{- end -}}
{{- end -}}

{{- define "strayd.saslSecret" -}}
{{- default (printf "%s-kafka-sasl" (include "strayd.fullname" .)) .Values.kafka.sasl.existingSecret -}}
{{- end -}}

{{/* Non-empty where Kafka is shown a token, and neither user name nor password. */}}
{{- define "strayd.showsToken" -}}
{{- if eq .Values.kafka.sasl.mechanism "OAUTHBEARER" -}}yes{{- end -}}
{{- end -}}

{{- define "strayd.tlsSecret" -}}
{{- default (printf "%s-kafka-tls" (include "strayd.fullname" .)) .Values.kafka.tls.existingSecret -}}
{{- end -}}

{{- define "strayd.adminSecret" -}}
{{- default (printf "%s-admin" (include "strayd.fullname" .)) .Values.adminToken.existingSecret -}}
{{- end -}}

{{/* Non-empty where the TLS Secret holds authorities. */}}
{{- define "strayd.hasAuthorities" -}}
{{- $tls := .Values.kafka.tls -}}
{{- if and $tls.enabled (or (and $tls.existingSecret $tls.caKey) (and (not $tls.existingSecret) $tls.ca)) -}}yes{{- end -}}
{{- end -}}

{{/* Non-empty where there is a TLS Secret at all. */}}
{{- define "strayd.hasTlsSecret" -}}
{{- if or (include "strayd.hasAuthorities" .) (and .Values.kafka.tls.enabled .Values.kafka.tls.clientCertificate) -}}yes{{- end -}}
{{- end -}}

{{- define "strayd.hasAdminToken" -}}
{{- if or .Values.adminToken.existingSecret .Values.adminToken.value -}}yes{{- end -}}
{{- end -}}

{{/* Keys of the Secrets: one's own names in an existing Secret, fixed ones in a Secret of this chart. */}}
{{- define "strayd.keys" -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- $tls := .Values.kafka.tls -}}
username: {{ not (empty $sasl.existingSecret) | ternary $sasl.usernameKey "username" | quote }}
password: {{ not (empty $sasl.existingSecret) | ternary $sasl.passwordKey "password" | quote }}
ca: {{ not (empty $tls.existingSecret) | ternary $tls.caKey "ca.crt" | quote }}
cert: {{ not (empty $tls.existingSecret) | ternary $tls.certKey "tls.crt" | quote }}
key: {{ not (empty $tls.existingSecret) | ternary $tls.keyKey "tls.key" | quote }}
token: {{ not (empty .Values.adminToken.existingSecret) | ternary .Values.adminToken.key "token" | quote }}
{{- end -}}
