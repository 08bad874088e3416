{{/* What can't work together, one problem a line. Values of the wrong kind never come this far: the schema stops them. */}}
{{- define "strayd.problems" -}}
{{- $config := .Values.config -}}
{{- $problems := list -}}
{{- range $key := list "brokers" "input_topic" -}}
{{- if not (dig "kafka" $key "" $config) -}}
{{- $problems = append $problems (printf "config.kafka.%s is not set, and a pipeline needs it" $key) -}}
{{- end -}}
{{- end -}}
{{- range splitList "," (dig "kafka" "brokers" "host:9092" $config | default "host:9092") -}}
{{- if not (regexMatch "^\\s*\\S+:[0-9]+\\s*$" .) -}}
{{- $problems = append $problems (printf "config.kafka.brokers has %s, which is no host:port" (trim . | quote)) -}}
{{- end -}}
{{- end -}}
{{- $problems = concat $problems (include "strayd.registryProblems" . | fromYamlArray) -}}
{{- $problems = concat $problems (include "strayd.secretProblems" . | fromYamlArray) -}}
{{- $problems = concat $problems (include "strayd.schemaRegistryProblems" . | fromYamlArray) -}}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\]):[1-9][0-9]*$" (dig "http" "listen" "0.0.0.0:9464" $config | toString)) -}}
{{- $problems = append $problems "config.http.listen must be 0.0.0.0:PORT or [::]:PORT: probes and Prometheus come from outside the pod" -}}
{{- end -}}
{{- if not (dig "pipeline" "shutdown_deadline" "25s" $config | include "strayd.seconds") -}}
{{- $problems = append $problems "config.pipeline.shutdown_deadline is no duration such as 25s, so no grace period follows from it" -}}
{{- end -}}
{{- if hasKey $config "role" -}}
{{- $problems = append $problems "config.role is what `mode` sets; leave it out" -}}
{{- end -}}
{{- $device := dig "runtime" "device" "" $config -}}
{{- if and .Values.gpu.enabled (eq $device "cpu") -}}
{{- $problems = append $problems "gpu.enabled asks for a GPU that config.runtime.device = cpu would leave idle; leave one of them out" -}}
{{- end -}}
{{- if and (not .Values.gpu.enabled) (eq $device "cuda") -}}
{{- $problems = append $problems "config.runtime.device = cuda needs gpu.enabled, else no pod has a GPU" -}}
{{- end -}}
{{- if and .Values.gpu.enabled .Values.image.digest (eq .Values.mode "split") -}}
{{- $problems = append $problems "image.digest names one image, but with gpu.enabled scorers and trainer have two; use image.tag" -}}
{{- end -}}
{{- if and (eq .Values.autoscaling.kind "hpa") (not (dig "requests" "cpu" "" .Values.resources)) -}}
{{- $problems = append $problems "autoscaling.kind = hpa needs resources.requests.cpu, the base of the utilisation" -}}
{{- end -}}
{{- if eq .Values.autoscaling.kind "keda" -}}
{{- range $key, $_ := dig "kafka" "properties" dict $config -}}
{{- if or (eq $key "security.protocol") (hasPrefix "sasl." $key) (hasPrefix "ssl." $key) -}}
{{- $problems = append $problems (printf "config.kafka.properties.%s is not seen by KEDA, which asks the brokers too; use kafka.sasl and kafka.tls" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.kafka.staticMembership (or (gt (int .Values.replicas) 1) (ne .Values.autoscaling.kind "none")) -}}
{{- $problems = append $problems "kafka.staticMembership is for one pod that scores: several have new names after each roll-out, and the partitions of the old ones would stand still" -}}
{{- end -}}
{{- if and .Values.kafka.staticMembership (dig "kafka" "group_instance_id" "" $config) -}}
{{- $problems = append $problems "config.kafka.group_instance_id is what `kafka.staticMembership` sets; leave one of them out" -}}
{{- end -}}
{{- if and (ne .Values.autoscaling.kind "none") (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- $problems = append $problems "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "strayd.registryProblems" -}}
{{- $problems := list -}}
{{- $registry := .Values.registry -}}
{{- $several := or (gt (int .Values.replicas) 1) (ne .Values.autoscaling.kind "none") -}}
{{- if or $several (eq .Values.mode "split") -}}
{{- $what := eq .Values.mode "split" | ternary "mode = split" (gt (int .Values.replicas) 1 | ternary "more than one replica" "autoscaling") -}}
{{- if not $registry.persistent -}}
{{- $problems = append $problems (printf "%s needs registry.persistent: pods meet in the registry's volume" $what) -}}
{{- else if not (has "ReadWriteMany" $registry.accessModes) -}}
{{- $problems = append $problems (printf "%s needs registry.accessModes = [ReadWriteMany]: with %s, pods on different nodes can't share the volume" $what (join ", " $registry.accessModes)) -}}
{{- end -}}
{{- end -}}
{{- $path := dig "model" "registry" "" .Values.config | toString -}}
{{- if not (hasPrefix (printf "%s/" (trimSuffix "/" $registry.mountPath)) $path) -}}
{{- $problems = append $problems (printf "config.model.registry = %s is not below registry.mountPath = %s, so models would be lost" $path $registry.mountPath) -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "strayd.secretProblems" -}}
{{- $problems := list -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- $tls := .Values.kafka.tls -}}
{{- if include "strayd.showsToken" . -}}
{{- $problems = concat $problems (include "strayd.tokenProblems" . | fromYamlArray) -}}
{{- else if $sasl.token.audience -}}
{{- $problems = append $problems "kafka.sasl.token.audience is for kafka.sasl.mechanism = OAUTHBEARER; leave it out" -}}
{{- else if $sasl.mechanism -}}
{{- if and $sasl.existingSecret (or $sasl.username $sasl.password) -}}
{{- $problems = append $problems "kafka.sasl has an existingSecret and a username or password; leave one of them out" -}}
{{- else if not (or $sasl.existingSecret (and $sasl.username $sasl.password)) -}}
{{- $problems = append $problems "kafka.sasl.mechanism needs kafka.sasl.existingSecret, or username and password" -}}
{{- end -}}
{{- else if or $sasl.existingSecret $sasl.username $sasl.password -}}
{{- $problems = append $problems "kafka.sasl has a Secret or a user, but no mechanism, so nobody would log in" -}}
{{- end -}}
{{- if $tls.enabled -}}
{{- if and $tls.existingSecret (or $tls.ca $tls.cert $tls.key) -}}
{{- $problems = append $problems "kafka.tls has an existingSecret and certificates; leave one of them out" -}}
{{- else if and $tls.clientCertificate (not $tls.existingSecret) (not (and $tls.cert $tls.key)) -}}
{{- $problems = append $problems "kafka.tls.clientCertificate needs kafka.tls.existingSecret, or cert and key" -}}
{{- else if and (not $tls.clientCertificate) (or $tls.cert $tls.key) -}}
{{- $problems = append $problems "kafka.tls has a cert or key that nothing shows; set kafka.tls.clientCertificate" -}}
{{- end -}}
{{- else if or $tls.existingSecret $tls.ca $tls.cert $tls.key $tls.clientCertificate -}}
{{- $problems = append $problems "kafka.tls has certificates, but is not enabled, so nothing would be encrypted" -}}
{{- end -}}
{{- if and .Values.adminToken.existingSecret .Values.adminToken.value -}}
{{- $problems = append $problems "adminToken has an existingSecret and a value; leave one of them out" -}}
{{- end -}}
{{- if and (include "strayd.hasAdminToken" .) (dig "http" "admin_token_file" "" .Values.config) -}}
{{- $problems = append $problems "config.http.admin_token_file is what `adminToken` sets; leave one of them out" -}}
{{- end -}}
{{- $wiring := include "strayd.kafkaWiring" . | fromYaml -}}
{{- range $table := list "properties" "secrets" -}}
{{- range $key, $value := dig "kafka" $table dict $.Values.config -}}
{{- if hasKey (merge dict (get $wiring "properties") (get $wiring "secrets")) $key -}}
{{- $problems = append $problems (printf "config.kafka.%s.%s is what `kafka` sets; leave one of them out" $table $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "strayd.schemaRegistryProblems" -}}
{{- $problems := list -}}
{{- $files := include "strayd.schemaRegistryWiring" . | fromYaml -}}
{{- $secret := .Values.schemaRegistry.existingSecret -}}
{{- $written := dig "record" "schema_registry" dict .Values.config -}}
{{- if and $secret (not $files) -}}
{{- $problems = append $problems "schemaRegistry has a Secret, but names none of its keys; set passwordKey, tokenKey or caKey" -}}
{{- else if and $files (not $secret) -}}
{{- $problems = append $problems "schemaRegistry names keys of a Secret, but has none; set schemaRegistry.existingSecret" -}}
{{- end -}}
{{- if and $secret (not (dig "url" "" $written)) -}}
{{- $problems = append $problems "schemaRegistry has a Secret, but config.record.schema_registry.url is not set, so nobody is asked" -}}
{{- end -}}
{{- range $key, $_ := $files -}}
{{- if dig $key "" $written -}}
{{- $problems = append $problems (printf "config.record.schema_registry.%s is what `schemaRegistry` sets; leave one of them out" $key) -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{- define "strayd.tokenProblems" -}}
{{- $problems := list -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- if or $sasl.username $sasl.password -}}
{{- $problems = append $problems "kafka.sasl.mechanism = OAUTHBEARER shows a token; leave username and password out" -}}
{{- end -}}
{{- if and $sasl.existingSecret $sasl.token.audience -}}
{{- $problems = append $problems "kafka.sasl has an existingSecret and a token.audience; leave one of them out" -}}
{{- else if not (or $sasl.existingSecret $sasl.token.audience) -}}
{{- $problems = append $problems "kafka.sasl.mechanism = OAUTHBEARER needs kafka.sasl.token.audience, or kafka.sasl.existingSecret" -}}
{{- end -}}
{{- if dig "kafka" "oauth_token_file" "" .Values.config -}}
{{- $problems = append $problems "config.kafka.oauth_token_file is what `kafka.sasl` sets; leave one of them out" -}}
{{- end -}}
{{- if eq .Values.autoscaling.kind "keda" -}}
{{- $problems = append $problems "autoscaling.kind = keda asks the brokers too, and has no token for OAUTHBEARER; use hpa" -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end -}}

{{/* Stops with all problems at once. */}}
{{- define "strayd.check" -}}
{{- $problems := include "strayd.problems" . | fromYamlArray -}}
{{- if $problems -}}
{{- printf "these values can't work:\n  - %s\n" (join "\n  - " $problems) | fail -}}
{{- end -}}
{{- end -}}
