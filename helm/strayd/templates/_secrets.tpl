{{/* The Secrets that are written in the values; nothing where all are there already. */}}
{{- define "strayd.inlineSecrets" -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- $tls := .Values.kafka.tls -}}
{{- if and $sasl.mechanism (not $sasl.existingSecret) (not (include "strayd.showsToken" .)) }}
{{- include "strayd.secret" (dict "root" . "name" (include "strayd.saslSecret" .) "data" (dict "username" $sasl.username "password" $sasl.password)) }}
{{- end }}
{{- if and (include "strayd.hasTlsSecret" .) (not $tls.existingSecret) }}
{{- $data := dict -}}
{{- if $tls.ca }}{{ $_ := set $data "ca.crt" $tls.ca }}{{ end -}}
{{- if $tls.clientCertificate }}{{ $_ := set $data "tls.crt" $tls.cert }}{{ $_ = set $data "tls.key" $tls.key }}{{ end -}}
{{- include "strayd.secret" (dict "root" . "name" (include "strayd.tlsSecret" .) "data" $data) }}
{{- end }}
{{- with .Values.adminToken.value }}
{{- include "strayd.secret" (dict "root" $ "name" (include "strayd.adminSecret" $) "data" (dict "token" .)) }}
{{- end }}
{{- end -}}

{{- define "strayd.secret" }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "strayd.labels" .root | nindent 4 }}
type: Opaque
data:
  {{- range $key, $value := .data }}
  {{ $key }}: {{ $value | b64enc }}
  {{- end }}
{{- end -}}
