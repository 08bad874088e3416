{{/* The container, as a list of one. Takes what strayd.deployment takes. */}}
{{- define "strayd.container" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $trainer := eq .component "trainer" -}}
- name: strayd
  image: {{ include "strayd.image" . | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args:
    {{- include "strayd.args" . | nindent 4 }}
  {{- with $values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: http, containerPort: {{ include "strayd.port" $root }}, protocol: TCP}
  startupProbe:
    httpGet: {path: /healthz, port: http}
    {{- toYaml $values.probes.startup | nindent 4 }}
  livenessProbe:
    httpGet: {path: /healthz, port: http}
    {{- toYaml $values.probes.liveness | nindent 4 }}
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    {{- toYaml $values.probes.readiness | nindent 4 }}
  resources:
    {{- include "strayd.resources" . | nindent 4 }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  volumeMounts:
    {{- include "strayd.volumeMounts" . | nindent 4 }}
{{- end -}}

{{- define "strayd.image" -}}
{{- $image := .root.Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- $gpu := and .root.Values.gpu.enabled (ne .component "trainer") -}}
{{- printf "%s:%s%s" $image.repository (default .root.Chart.AppVersion $image.tag) ($gpu | ternary .root.Values.gpu.tagSuffix "") -}}
{{- end -}}
{{- end -}}

{{/* What differs between pods that share strayd.yaml goes by arguments. */}}
{{- define "strayd.args" -}}
{{- $values := .root.Values -}}
- run
- --config=/etc/strayd/strayd.yaml
{{- if ne .component "all" }}
- --role={{ .component }}
{{- end }}
{{- if and (eq .component "trainer") $values.gpu.enabled }}
- --set=runtime.device=cpu
{{- end }}
{{- if and (ne .component "scorer") (include "strayd.hasAdminToken" .root) }}
- --set=http.admin_token_file=/run/secrets/strayd/admin/token
{{- end }}
{{- if $values.kafka.staticMembership }}
- --set=kafka.group_instance_id={{ .name }}
{{- end }}
{{- range $values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "strayd.resources" -}}
{{- $values := .root.Values -}}
{{- if eq .component "trainer" -}}
{{- toYaml $values.trainer.resources -}}
{{- else -}}
{{- $resources := deepCopy $values.resources -}}
{{- if $values.gpu.enabled -}}
{{- $limits := merge (dict $values.gpu.resourceName $values.gpu.count) (default dict $resources.limits) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
{{- end -}}

{{/* Scorers only read models. */}}
{{- define "strayd.volumeMounts" -}}
{{- $values := .root.Values -}}
- {name: config, mountPath: /etc/strayd, readOnly: true}
- {name: registry, mountPath: {{ $values.registry.mountPath | quote }}, readOnly: {{ eq .component "scorer" }}}
- {name: tmp, mountPath: /tmp}
{{- if $values.kafka.sasl.mechanism }}
- {name: kafka-sasl, mountPath: /run/secrets/strayd/kafka-sasl, readOnly: true}
{{- end }}
{{- if include "strayd.hasTlsSecret" .root }}
- {name: kafka-tls, mountPath: /run/secrets/strayd/kafka-tls, readOnly: true}
{{- end }}
{{- if $values.schemaRegistry.existingSecret }}
- {name: schema-registry, mountPath: /run/secrets/strayd/schema-registry, readOnly: true}
{{- end }}
{{- if and (ne .component "scorer") (include "strayd.hasAdminToken" .root) }}
- {name: admin, mountPath: /run/secrets/strayd/admin, readOnly: true}
{{- end }}
{{- with $values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "strayd.volumes" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $keys := include "strayd.keys" $root | fromYaml -}}
- name: config
  configMap: {name: {{ include "strayd.fullname" $root }}}
- name: registry
  {{- if $values.registry.persistent }}
  persistentVolumeClaim: {claimName: {{ default (include "strayd.fullname" $root) $values.registry.existingClaim }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if $values.kafka.sasl.mechanism }}
- name: kafka-sasl
  {{- with $values.kafka.sasl.token.audience }}
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          audience: {{ . | quote }}
          expirationSeconds: {{ $values.kafka.sasl.token.expirationSeconds | int64 }}
          path: token
  {{- else }}
  secret:
    secretName: {{ include "strayd.saslSecret" $root }}
    # Readable by the program's group alone.
    defaultMode: 0440
    items:
      {{- if include "strayd.showsToken" $root }}
      - {key: {{ $values.kafka.sasl.token.key | quote }}, path: token}
      {{- else }}
      - {key: {{ $keys.username | quote }}, path: username}
      - {key: {{ $keys.password | quote }}, path: password}
      {{- end }}
  {{- end }}
{{- end }}
{{- if include "strayd.hasTlsSecret" $root }}
- name: kafka-tls
  secret:
    secretName: {{ include "strayd.tlsSecret" $root }}
    defaultMode: 0440
    items:
      {{- if include "strayd.hasAuthorities" $root }}
      - {key: {{ $keys.ca | quote }}, path: ca.crt}
      {{- end }}
      {{- if $values.kafka.tls.clientCertificate }}
      - {key: {{ $keys.cert | quote }}, path: tls.crt}
      - {key: {{ $keys.key | quote }}, path: tls.key}
      {{- end }}
{{- end }}
{{- with $values.schemaRegistry }}
{{- if .existingSecret }}
- name: schema-registry
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      {{- with .passwordKey }}
      - {key: {{ . | quote }}, path: password}
      {{- end }}
      {{- with .tokenKey }}
      - {key: {{ . | quote }}, path: token}
      {{- end }}
      {{- with .caKey }}
      - {key: {{ . | quote }}, path: ca.crt}
      {{- end }}
{{- end }}
{{- end }}
{{- if and (ne .component "scorer") (include "strayd.hasAdminToken" $root) }}
- name: admin
  secret:
    secretName: {{ include "strayd.adminSecret" $root }}
    defaultMode: 0440
    items:
      - {key: {{ $keys.token | quote }}, path: token}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
