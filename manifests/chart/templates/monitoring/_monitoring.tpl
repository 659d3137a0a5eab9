{{/* Labels by which Prometheus or Grafana of the cluster finds these, also in the place of a common one. Called with the chart and them. */}}
{{- define "assay.monitoring.labels" -}}
{{- toYaml (mergeOverwrite (include "assay.server.labels" .root | fromYaml) .labels) }}
{{- end }}

{{/*
How the server is scraped. It keeps its name over a restart: under another one each alert would be a new one, and page again. Its own
labels win: with the node of the pod as `node`, as some give to every target, each alert would name that one.
*/}}
{{- define "assay.monitoring.endpoint" -}}
port: metrics
path: /metrics
scheme: http
interval: {{ .Values.monitoring.interval | quote }}
honorLabels: true
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_name]
    targetLabel: instance
    action: replace
{{- end }}
