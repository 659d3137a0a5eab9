{{/* Labels by which Prometheus or Grafana of the cluster finds these, also in the place of a common one. Called with the chart and them. */}}
{{- define "assay.monitoring.labels" -}}
{{- toYaml (mergeOverwrite (include "assay.server.labels" .root | fromYaml) .labels) }}
{{- end }}

{{/* How the server is scraped. It keeps its name over a restart: under another one each alert would be a new one, and page again. */}}
{{- define "assay.monitoring.endpoint" -}}
port: metrics
path: /metrics
scheme: http
interval: {{ .Values.monitoring.interval | quote }}
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_name]
    targetLabel: instance
    action: replace
{{- end }}
