{{/* Defaults of settings, written by npm run generate. */}}
{{- define "assay.default.pendingTaint" -}}assay.dev/pending{{- end }}
{{- define "assay.default.reprovingTaint" -}}assay.dev/reproving{{- end }}
{{- define "assay.default.untrustedTaint" -}}assay.dev/untrusted{{- end }}
{{- define "assay.default.tcti" -}}device:/dev/tpmrm0{{- end }}
