{{/* A Deployment. Takes {root, component: all | scorer | trainer, name}. */}}
{{- define "strayd.deployment" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $trainer := eq .component "trainer" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "strayd.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with $values.deploymentAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if $trainer }}
  # Two trainers of one group would each see a part of the records.
  replicas: 1
  {{- else if eq $values.autoscaling.kind "none" }}
  replicas: {{ $values.replicas | int64 }}
  {{- end }}
  revisionHistoryLimit: {{ $values.revisionHistoryLimit | int64 }}
  progressDeadlineSeconds: {{ $values.progressDeadlineSeconds | int64 }}
  strategy:
    {{- include "strayd.strategy" . | nindent 4 }}
  selector:
    matchLabels:
      {{- include "strayd.selectorLabels" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- with merge (deepCopy $values.podLabels) $values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "strayd.selectorLabels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
      annotations:
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        # The program reads its files once, so pods roll when these change.
        checksum/config: {{ include "strayd.config" $root | sha256sum }}
        {{- with include "strayd.inlineSecrets" $root }}
        checksum/secrets: {{ . | sha256sum }}
        {{- end }}
    spec:
      {{- include "strayd.podSpec" . | nindent 6 }}
{{- end -}}

{{- define "strayd.strategy" -}}
{{- $values := .root.Values -}}
{{- if $values.strategy -}}
{{- toYaml $values.strategy -}}
{{- else if or (eq .component "trainer") $values.kafka.staticMembership (not (has "ReadWriteMany" $values.registry.accessModes)) -}}
type: Recreate
{{- else -}}
# No surge: each member that joins or leaves the consumer group moves partitions.
type: RollingUpdate
rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
{{- end -}}
{{- end -}}

{{- define "strayd.podSpec" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $trainer := eq .component "trainer" -}}
{{- $gpu := and $values.gpu.enabled (not $trainer) -}}
serviceAccountName: {{ include "strayd.serviceAccountName" $root }}
automountServiceAccountToken: false
# Variables of Services would only crowd the environment.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "strayd.gracePeriod" $root }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if and $gpu $values.gpu.runtimeClassName }}
runtimeClassName: {{ $values.gpu.runtimeClassName }}
{{- end }}
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
containers:
  {{- include "strayd.container" . | nindent 2 }}
volumes:
  {{- include "strayd.volumes" . | nindent 2 }}
{{- include "strayd.placement" . }}
{{- end -}}

{{/* nodeSelector, tolerations, affinity and spread. */}}
{{- define "strayd.placement" -}}
{{- $values := .root.Values -}}
{{- $trainer := eq .component "trainer" -}}
{{- $gpu := and $values.gpu.enabled (not $trainer) -}}
{{- $own := $trainer | ternary $values.trainer dict -}}
{{- $nodeSelector := default $values.nodeSelector $own.nodeSelector -}}
{{- $tolerations := default $values.tolerations $own.tolerations -}}
{{- if $gpu -}}
{{- $nodeSelector = merge (deepCopy $values.gpu.nodeSelector) $nodeSelector -}}
{{- $tolerations = concat $tolerations $values.gpu.tolerations -}}
{{- end -}}
{{- with $nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $values.affinity $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if not $trainer }}
topologySpreadConstraints:
  {{- with $values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "strayd.selectorLabels" $.root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
