{{/* What the container `agent` is told. Values add to it, and replace none of it. */}}
{{- define "assay.agent.env" -}}
- name: ASSAY_AGENT_NODE
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
- { name: ASSAY_AGENT_SERVERS, value: {{ prepend .Values.agent.servers (printf "%s:8443" (include "assay.server.host" .)) | join "," | quote }} }
- { name: ASSAY_AGENT_CA_FILE, value: /etc/assay/authority/ca.crt }
- { name: ASSAY_AGENT_CLUSTER_TOKEN_FILE, value: /run/secrets/assay/token }
{{- if eq .Values.agent.tpmBroker "container" }}
- { name: ASSAY_AGENT_TPM_BROKER, value: /run/assay/tpm/sockets/tpm.sock }
{{- else }}
- { name: ASSAY_AGENT_TPM_BROKER, value: /host/run/assay/tpm.sock }
{{- end }}
{{- if .Values.agent.netfilter.enabled }}
- { name: ASSAY_AGENT_NETFILTER, value: /run/assay/netfilter/sockets/netfilter.sock }
{{- end }}
- { name: ASSAY_AGENT_HEALTH_SOCKET, value: /run/assay/agent/sockets/health.sock }
- { name: ASSAY_AGENT_STATE_DIR, value: /var/lib/assay-agent/state }
- { name: ASSAY_AGENT_SYSROOT, value: /host }
- { name: ASSAY_AGENT_WATCH, value: {{ .Values.agent.watch | quote }} }
- { name: ASSAY_AGENT_LOG_LEVEL, value: {{ .Values.agent.logLevel }} }
{{- end }}
