{{/* The state folder is a subfolder of the volume: what the volume itself is like is the kubelet's. */}}
{{- define "assay.server.settings" -}}
{{- $roots := list -}}
{{- if .Values.server.endorsementRoots.builtin }}{{ $roots = append $roots "builtin" }}{{ end -}}
{{- range .Values.server.endorsementRoots.volumes }}{{ $roots = append $roots (printf "/etc/assay-roots/%s" .name) }}{{ end -}}
{{- if not $roots }}{{ $roots = list "none" }}{{ end -}}
{{- $agents := .Values.namespaces.agents -}}
{{- $kubernetes := dict "api" "pod" "namespace" .Values.namespaces.server "agentAccount" (printf "%s/assay-agent" $agents) "authorityConfigMap" (printf "%s/assay-authority" $agents) -}}
{{- $own := dict "stateDir" "/var/lib/assay/state" "policy" "/etc/assay/policy.yaml" "names" (include "assay.server.names" . | fromYamlArray) "endorsementRoots" $roots "kubernetes" $kubernetes -}}
{{- if .Values.trial.enabled }}{{ $_ := set $own "trial" true }}{{ end -}}
{{- with .Values.server.cloud.program }}
{{- $_ := set $own "cloudProgram" (ternary (printf "/usr/bin/assay-cloud-%s" .) . (has . (list "gce" "aws"))) -}}
{{- end -}}
{{- with .Values.server.declared -}}
{{- if .configMaps }}{{ $_ := set $own "declared" (dict "directory" "/etc/assay-declared" "keys" .keys) }}{{ end -}}
{{- end -}}
{{- if .Values.server.backup.existingClaim }}{{ $_ := set $own "backup" (dict "directory" "/var/lib/assay-backups/copies") }}{{ end -}}
{{- with .Values.server.keys.secret -}}
{{- if .name }}{{ $_ := set $own "keys" (dict "wrappingKeyFile" (printf "/etc/assay-keys/%s" .key)) }}{{ end -}}
{{- end -}}
{{- with .Values.server.webhook -}}
{{- if .url -}}
{{- $webhook := dict "url" .url "secretFile" (printf "/etc/assay-webhook/%s" .secret.key) -}}
{{- if .ca.configMap }}{{ $_ := set $webhook "caFile" (printf "/etc/assay-webhook-ca/%s" .ca.key) }}{{ end -}}
{{- $_ := set $own "webhook" $webhook -}}
{{- end -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite (deepCopy .Values.server.settings) $own) -}}
{{- end }}

{{- define "assay.server.files" -}}
server.yaml: |
  {{- include "assay.server.settings" . | nindent 2 }}
policy.yaml: |
  {{- toYaml .Values.policy | nindent 2 }}
{{- end }}

{{/* All Nodes carry taints of Assay while a site starts cold, and after a wrong reference. */}}
{{- define "assay.marks.tolerations" -}}
{{- $keys := dig "marks" dict .Values.server.settings -}}
- { key: {{ $keys.pendingTaint | default (include "assay.default.pendingTaint" .) | quote }}, operator: Exists, effect: NoSchedule }
- { key: {{ $keys.reprovingTaint | default (include "assay.default.reprovingTaint" .) | quote }}, operator: Exists, effect: NoSchedule }
- { key: {{ $keys.untrustedTaint | default (include "assay.default.untrustedTaint" .) | quote }}, operator: Exists, effect: NoSchedule }
{{- end }}

{{- define "assay.server.tolerations" -}}
# All Nodes carry taints of Assay while a site starts cold, and after a wrong reference.
{{ include "assay.marks.tolerations" . }}
{{- with .Values.server.tolerations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "assay.server.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* What both the server and the check of its settings have mounted. */}}
{{- define "assay.server.mounts" -}}
- { name: config, mountPath: /etc/assay, readOnly: true }
{{- range .Values.server.endorsementRoots.volumes }}
- { name: roots-{{ .name }}, mountPath: /etc/assay-roots/{{ .name }}, readOnly: true }
{{- end }}
{{- if .Values.server.declared.configMaps }}
- { name: declared, mountPath: /etc/assay-declared, readOnly: true }
{{- end }}
{{- if .Values.server.keys.secret.name }}
- { name: keys, mountPath: /etc/assay-keys, readOnly: true }
{{- end }}
{{- with .Values.server.webhook }}
{{- if .url }}
- { name: webhook, mountPath: /etc/assay-webhook, readOnly: true }
{{- if .ca.configMap }}
- { name: webhook-ca, mountPath: /etc/assay-webhook-ca, readOnly: true }
{{- end }}
{{- end }}
{{- end }}
{{- include "assay.extra.mounts" .Values.server }}
{{- end }}

{{- define "assay.server.volumes" -}}
{{- range .Values.server.endorsementRoots.volumes }}
- name: roots-{{ .name }}
  {{- if .configMap }}
  configMap:
    name: {{ .configMap | quote }}
    {{- with .items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- else }}
  secret:
    secretName: {{ .secret | quote }}
    {{- with .items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with .Values.server.declared.configMaps }}
- name: declared
  projected:
    sources:
      {{- range . }}
      - configMap: { name: {{ . | quote }} }
      {{- end }}
{{- end }}
{{- with .Values.server.keys.secret }}
{{- if .name }}
# Of root, and read by the group of the server.
- name: keys
  secret: { secretName: {{ .name | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- with .Values.server.webhook }}
{{- if .url }}
- name: webhook
  secret: { secretName: {{ .secret.name | quote }} }
{{- if .ca.configMap }}
- name: webhook-ca
  configMap: { name: {{ .ca.configMap | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- include "assay.extra.volumes" .Values.server }}
{{- end }}
