{{/* What says whose objects these are. Never in a selector: the version changes. */}}
{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: assay
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* By these an object finds its pods. They are the same for good: the API lets no selector be changed. */}}
{{- define "assay.selector" -}}
app.kubernetes.io/name: assay
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "assay.server.labels" -}}
{{ include "assay.labels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "assay.server.selector" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "assay.agent.labels" -}}
{{ include "assay.labels" . }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "assay.agent.selector" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "assay.hook.labels" -}}
{{ include "assay.labels" . }}
app.kubernetes.io/component: hook
{{- end }}

{{/* What an uninstall leaves. Without Helm it is told by this label from what goes. */}}
{{- define "assay.kept.labels" -}}
{{ include "assay.labels" . }}
app.kubernetes.io/component: kept
{{- end }}

{{/* An image by its digest where one is given, else by its tag. Called with the chart and the image. */}}
{{- define "assay.image" -}}
{{- $image := .image -}}
{{- $of := .root.Values.image -}}
{{- with $of.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $of.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* A runtime asks a registry of strangers for a name without a host. So such a name is that of an image which the node has. */}}
{{- define "assay.pullPolicy" -}}
{{ ternary "Never" .Values.image.pullPolicy (empty .Values.image.registry) }}
{{- end }}

{{/* What a container of the restricted level may: nothing. */}}
{{- define "assay.noRights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Where agents and people of the cluster find the server. */}}
{{- define "assay.server.host" -}}
assay-server.{{ .Values.namespaces.server }}.svc
{{- end }}

{{/* Names in the certificate of the server, those of its Service first. */}}
{{- define "assay.server.names" -}}
{{- $service := printf "assay-server.%s" .Values.namespaces.server -}}
{{- $names := list (printf "%s.svc" $service) (printf "%s.svc.%s" $service .Values.clusterDomain) $service "assay-server" "localhost" "127.0.0.1" -}}
{{- toYaml (concat $names .Values.server.names | uniq) -}}
{{- end }}

{{/* Before the first installation the cluster knows no latch, and to ask for one would be a fault. */}}
{{- define "assay.isLatched" -}}
{{- $isLatched := .Values.trust.latched -}}
{{- if .Capabilities.APIVersions.Has "assay.dev/v1alpha1/AssayLatch" -}}
{{- $isLatched = or $isLatched (not (empty (lookup "assay.dev/v1alpha1" "AssayLatch" "" "cluster"))) -}}
{{- end -}}
{{- if $isLatched }}true{{ end -}}
{{- end }}

{{/* Why admission must deny what is against its policies, as a part of a sentence; empty where nothing rests on the marks. */}}
{{- define "assay.mustDeny" -}}
{{- $why := "" -}}
{{- range .Values.policy.groups -}}
{{- if and (empty $why) (ne (.mode | default "observe") "observe") }}{{ $why = printf "the group %s of the policy is in %s" .name .mode }}{{ end -}}
{{- end -}}
{{- if include "assay.isLatched" . }}{{ $why = "trust is enabled for good in this cluster (trust.latched)" }}{{ end -}}
{{- $why -}}
{{- end }}

{{/* What becomes of a write that the policies of marks and NodeAttestations are against. A declared policy, which may mark, no template sees. */}}
{{- define "assay.admission.action" -}}
{{- $mayMark := or (include "assay.mustDeny" .) .Values.server.declared.configMaps -}}
{{- .Values.admission.action | default (ternary "Warn" "Deny" (empty $mayMark)) -}}
{{- end }}

{{/* The same in the words of a binding. Whoever is warned is noted too, so that the audit log of the API shows who would be denied. */}}
{{- define "assay.admission.actions" -}}
{{- get (dict "Deny" "[Deny]" "Warn" "[Warn, Audit]" "Audit" "[Audit]") (include "assay.admission.action" .) -}}
{{- end }}

{{/* What removes marks by hand. A role for people, and for the job that prunes after an uninstall, when that role is gone. */}}
{{- define "assay.exempt.rules" -}}
# why: The admission policies let accounts with this verb pass.
- { apiGroups: [assay.dev], resources: [attestations], verbs: [exempt] }
# why: To remove labels and taints of trust.
- { apiGroups: [""], resources: [nodes], verbs: [get, list, watch, patch] }
# why: To remove the conditions.
- { apiGroups: [""], resources: [nodes/status], verbs: [patch] }
# why: To remove the verdicts.
- { apiGroups: [assay.dev], resources: [nodeattestations], verbs: [get, list, delete] }
# why: Under the latch the cluster's uid and a reason are required.
- { apiGroups: [assay.dev], resources: [assaylatches], verbs: [get] }
# why: To see whether a server still marks.
- { apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [assay-server], verbs: [get] }
# why: The uid of the cluster.
- { apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get] }
{{- end }}

{{/* After an uninstall, in the order of weights. What failed stays to be looked at. */}}
{{- define "assay.unmark.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end }}

{{- define "assay.test.hook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end }}
