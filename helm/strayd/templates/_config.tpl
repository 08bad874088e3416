{{/* The port of config.http.listen. */}}
{{- define "strayd.port" -}}
{{- dig "http" "listen" "0.0.0.0:9464" .Values.config | toString | splitList ":" | last | trim -}}
{{- end -}}

{{/* Whole seconds of a duration as the daemon writes it (25s, 2 m), rounded up; nothing where it is none. */}}
{{- define "strayd.seconds" -}}
{{- $text := . | toString | trim -}}
{{- $number := regexFind "^[0-9]+" $text | default "0" | int64 -}}
{{- $unit := regexReplaceAll "^[0-9]+\\s*" $text "" -}}
{{- if eq $unit "us" }}{{ divf $number 1000000 | ceil | int64 }}
{{- else if eq $unit "ms" }}{{ divf $number 1000 | ceil | int64 }}
{{- else if eq $unit "s" }}{{ $number }}
{{- else if eq $unit "m" }}{{ mul $number 60 }}
{{- else if eq $unit "h" }}{{ mul $number 3600 }}
{{- else if eq $unit "d" }}{{ mul $number 86400 }}
{{- end -}}
{{- end -}}

{{/* The daemon is gone at most 3 s after its deadline; 5 s more are for the kubelet. */}}
{{- define "strayd.gracePeriod" -}}
{{- dig "pipeline" "shutdown_deadline" "25s" .Values.config | include "strayd.seconds" | int64 | add 8 -}}
{{- end -}}

{{/* PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. */}}
{{- define "strayd.securityProtocol" -}}
{{- $transport := .Values.kafka.tls.enabled | ternary "SSL" "PLAINTEXT" -}}
{{- if .Values.kafka.sasl.mechanism -}}SASL_{{- end -}}{{- $transport -}}
{{- end -}}

{{/* What `kafka` adds to config.kafka.properties and config.kafka.secrets, as YAML. */}}
{{- define "strayd.kafkaWiring" -}}
{{- $properties := dict -}}
{{- $secrets := dict -}}
{{- if or .Values.kafka.sasl.mechanism .Values.kafka.tls.enabled -}}
{{- $_ := set $properties "security.protocol" (include "strayd.securityProtocol" .) -}}
{{- end -}}
{{- if .Values.kafka.sasl.mechanism -}}
{{- $_ := set $properties "sasl.mechanism" .Values.kafka.sasl.mechanism -}}
{{- end -}}
{{- if and .Values.kafka.sasl.mechanism (not (include "strayd.showsToken" .)) -}}
{{- $_ := set $secrets "sasl.username" "/run/secrets/strayd/kafka-sasl/username" -}}
{{- $_ := set $secrets "sasl.password" "/run/secrets/strayd/kafka-sasl/password" -}}
{{- end -}}
{{- if include "strayd.hasAuthorities" . -}}
{{- $_ := set $properties "ssl.ca.location" "/run/secrets/strayd/kafka-tls/ca.crt" -}}
{{- end -}}
{{- if and .Values.kafka.tls.enabled .Values.kafka.tls.clientCertificate -}}
{{- $_ := set $properties "ssl.certificate.location" "/run/secrets/strayd/kafka-tls/tls.crt" -}}
{{- $_ := set $properties "ssl.key.location" "/run/secrets/strayd/kafka-tls/tls.key" -}}
{{- end -}}
{{- dict "properties" $properties "secrets" $secrets | toYaml -}}
{{- end -}}

{{/* What `schemaRegistry` adds to config.record.schema_registry, as YAML. */}}
{{- define "strayd.schemaRegistryWiring" -}}
{{- $registry := .Values.schemaRegistry -}}
{{- $files := dict -}}
{{- if $registry.passwordKey -}}
{{- $_ := set $files "password_file" "/run/secrets/strayd/schema-registry/password" -}}
{{- end -}}
{{- if $registry.tokenKey -}}
{{- $_ := set $files "token_file" "/run/secrets/strayd/schema-registry/token" -}}
{{- end -}}
{{- if $registry.caKey -}}
{{- $_ := set $files "ca_file" "/run/secrets/strayd/schema-registry/ca.crt" -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* strayd.yaml: `config` as written, with what `kafka`, `schemaRegistry` and `gpu` add. */}}
{{- define "strayd.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $kafka := deepCopy (default dict $config.kafka) -}}
{{- range $table, $added := include "strayd.kafkaWiring" . | fromYaml -}}
{{- if $added -}}
{{- $_ := set $kafka $table (merge (deepCopy (default dict (get $kafka $table))) $added) -}}
{{- end -}}
{{- end -}}
{{- if include "strayd.showsToken" . -}}
{{- $_ := set $kafka "oauth_token_file" "/run/secrets/strayd/kafka-sasl/token" -}}
{{- end -}}
{{- $_ := set $config "kafka" $kafka -}}
{{- with include "strayd.schemaRegistryWiring" . | fromYaml -}}
{{- $record := deepCopy (default dict $config.record) -}}
{{- $_ := set $record "schema_registry" (merge (deepCopy (default dict $record.schema_registry)) .) -}}
{{- $_ = set $config "record" $record -}}
{{- end -}}
{{- if and .Values.gpu.enabled (not (dig "runtime" "device" "" $config)) -}}
{{- $_ := set $config "runtime" (merge (dict "device" "cuda") (default dict $config.runtime)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Ports of config.kafka.brokers, as a YAML list. */}}
{{- define "strayd.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," (dig "kafka" "brokers" "" .Values.config | toString) -}}
{{- $ports = append $ports (splitList ":" . | last | trim | int) -}}
{{- end -}}
{{- concat $ports .Values.networkPolicy.kafkaPorts | uniq | toYaml -}}
{{- end -}}
