{{/*
What values add to the pods of server and agent. Names of volumes are set off from the chart's own, so that none replaces one of these;
what a mount or a variable would replace is refused (_contradictions.tpl). Called with the values of one of both.
*/}}
{{- define "assay.extra.mounts" -}}
{{- range .extraVolumeMounts }}
{{ toYaml (list (mustMergeOverwrite (deepCopy .) (dict "name" (printf "extra-%s" .name)))) }}
{{- end }}
{{- end }}

{{- define "assay.extra.volumes" -}}
{{- range .extraVolumes }}
{{ toYaml (list (mustMergeOverwrite (deepCopy .) (dict "name" (printf "extra-%s" .name)))) }}
{{- end }}
{{- end }}

{{/* Paths of its image and of its mounts, at, below and above which nothing is mounted. */}}
{{- define "assay.extra.taken" -}}
{{- $everywhere := list "/bin" "/dev" "/etc/assay" "/lib" "/lib64" "/proc" "/run" "/sbin" "/sys" "/usr" "/var/run" -}}
{{- $own := dict "server" (list "/etc/assay-declared" "/etc/assay-keys" "/etc/assay-roots" "/etc/assay-webhook" "/etc/assay-webhook-ca" "/tmp" "/var/lib/assay" "/var/lib/assay-backups") "agent" (list "/host" "/var/lib/assay-agent") -}}
{{- toYaml (concat $everywhere (get $own .)) -}}
{{- end }}
