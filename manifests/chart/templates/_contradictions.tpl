{{/*
Values that are right alone and wrong together. Each fault is a sentence that says what to do; all are told at once. The server
refuses the same where it can know it.
*/}}
{{- define "assay.contradictions" -}}
{{- $faults := list -}}
{{- $server := .Values.server -}}
{{- $settings := $server.settings -}}

{{- if eq .Values.namespaces.server .Values.namespaces.agents -}}
{{- $faults = append $faults "namespaces.agents: the same as namespaces.server, whose Pod Security level lets no agent run: name another one" -}}
{{- end -}}

{{- $everybodys := list "default" "kube-system" "kube-public" "kube-node-lease" -}}
{{- if has .Values.namespaces.server $everybodys -}}
{{- $faults = append $faults (printf "namespaces.server: %s is also for others, and who may start pods in it would have the rights of the server: name another one" .Values.namespaces.server) -}}
{{- end -}}
{{- if and .Values.namespaces.create (has .Values.namespaces.agents $everybodys) -}}
{{- $faults = append $faults (printf "namespaces.agents: %s is there in every cluster, and the chart would change its level and remove it with the release: name another one, or set namespaces.create to false" .Values.namespaces.agents) -}}
{{- end -}}

{{- if empty .Values.image.registry -}}
{{- if eq .Values.image.pullPolicy "Always" -}}
{{- $faults = append $faults "image.pullPolicy: Always, and image.registry does not say from where: set it, or load the images on the nodes and leave the policy out" -}}
{{- end -}}
{{- range $name, $image := dict "agent" .Values.image.agent "server" .Values.image.server -}}
{{- if regexMatch "^([^/]*[.][^/]*|localhost)/" $image.repository -}}
{{- $faults = append $faults (printf "image.%s.repository: %s begins with a host, and nothing is fetched without image.registry: write the host there" $name $image.repository) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the chart sets itself. */ -}}
{{- range $key, $instead := dict "stateDir" "server.persistence" "policy" "policy" "names" "server.names" "endorsementRoots" "server.endorsementRoots" "cloudProgram" "server.cloud.program" "declared" "server.declared" "webhook" "server.webhook" "host" "" "agentPort" "" "apiPort" "" "metricsPort" "" -}}
{{- if hasKey $settings $key -}}
{{- $faults = append $faults (printf "server.settings.%s: the chart sets it: %s" $key (ternary "leave it out" (printf "use %s" $instead) (empty $instead))) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "api" "namespace" "agentAccount" "authorityConfigMap" "host" "port" -}}
{{- if hasKey (dig "kubernetes" dict $settings) $key -}}
{{- $faults = append $faults (printf "server.settings.kubernetes.%s: the chart sets it: leave it out" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (dig "marks" dict $settings) "ownNode" -}}
{{- $faults = append $faults "server.settings.marks.ownNode: the pod says it: leave it out" -}}
{{- end -}}
{{- range $key, $taint := dig "marks" dict $settings -}}
{{- if not (or (eq $key "ownNode") (regexMatch "^(assay[.]dev/|(startup|status)-taint[.]cluster-autoscaler[.]kubernetes[.]io/assay-)" $taint)) -}}
{{- $faults = append $faults (printf "server.settings.marks.%s: admission does not protect the taint %s: begin it with assay.dev/, or with assay- below a prefix of the cluster autoscaler" $key $taint) -}}
{{- end -}}
{{- end -}}

{{- $roots := or $server.endorsementRoots.builtin $server.endorsementRoots.volumes -}}
{{- range $group := .Values.policy.groups -}}
{{- if and (has "cloud" $group.enrolment) (empty $server.cloud.program) -}}
{{- $faults = append $faults (printf "policy.groups: the group %s enrols by cloud, and no program knows whose TPM a machine has: set server.cloud.program, or take cloud out of its enrolment" $group.name) -}}
{{- end -}}
{{- if and (has "vendor" $group.enrolment) (not $roots) -}}
{{- $faults = append $faults (printf "policy.groups: the group %s enrols by vendor, and nobody may endorse a TPM: set server.endorsementRoots, or take vendor out of its enrolment" $group.name) -}}
{{- end -}}
{{- end -}}

{{- /* Before the first installation the cluster knows no latch, and to ask for one would be a fault. */ -}}
{{- $isLatched := .Values.trust.latched -}}
{{- if .Capabilities.APIVersions.Has "assay.dev/v1alpha1/AssayLatch" -}}
{{- $isLatched = or $isLatched (not (empty (lookup "assay.dev/v1alpha1" "AssayLatch" "" "cluster"))) -}}
{{- end -}}
{{- if and $isLatched (not $server.persistence.enabled) -}}
{{- $faults = append $faults "server.persistence.enabled: false, and trust is enabled for good in this cluster (trust.latched): a server without its audit key and enrolments could prove nothing: keep the volume" -}}
{{- end -}}
{{- if and .Values.trust.latched (empty .Values.trust.auditKeyCopy) -}}
{{- $faults = append $faults "trust.auditKeyCopy: is empty, and trust.latched is true: copy audit.key out of the state folder (docs/backup.md), and write here where the copy is kept" -}}
{{- end -}}
{{- /* The latch may cover some groups alone; the server knows which. It is refused where it could cover none. */ -}}
{{- $acting := 0 -}}
{{- range .Values.policy.groups -}}
{{- if ne (.mode | default "observe") "observe" }}{{ $acting = add1 $acting }}{{ end -}}
{{- end -}}
{{- if and .Values.trust.latched (not $acting) -}}
{{- $faults = append $faults "trust.latched: true, and each of policy.groups only observes: the latch covers no such group: set the mode of one to label or enforce" -}}
{{- end -}}

{{- if and $server.persistence.existingClaim (not $server.persistence.enabled) -}}
{{- $faults = append $faults "server.persistence.existingClaim: names a volume, and server.persistence.enabled is false: set one of both" -}}
{{- end -}}
{{- if and $server.declared.configMaps (empty $server.declared.keys) -}}
{{- $faults = append $faults "server.declared.keys: is empty, and a directory counts only where a key signed it: name the keys" -}}
{{- end -}}
{{- if and $server.declared.keys (empty $server.declared.configMaps) -}}
{{- $faults = append $faults "server.declared.configMaps: is empty, and there are keys for it: name the ConfigMaps, or leave the keys out" -}}
{{- end -}}
{{- if and $server.webhook.url (empty $server.webhook.secret.name) -}}
{{- $faults = append $faults "server.webhook.secret.name: is empty, and server.webhook.url names a receiver: name the Secret that signs its messages" -}}
{{- end -}}
{{- if and (empty $server.webhook.url) (or $server.webhook.secret.name $server.webhook.ca.configMap) -}}
{{- $faults = append $faults "server.webhook.url: is empty, and there is a Secret or ConfigMap for it: name the receiver, or leave them out" -}}
{{- end -}}
{{- if and (empty $server.cloud.program) (or $server.cloud.env $server.cloud.envFrom) -}}
{{- $faults = append $faults "server.cloud.program: is empty, and there is an environment for it: name the program, or leave that out" -}}
{{- end -}}
{{- if and $server.service.loadBalancerSourceRanges (ne $server.service.type "LoadBalancer") -}}
{{- $faults = append $faults (printf "server.service.loadBalancerSourceRanges: bounds nothing, since server.service.type is %s: set it to LoadBalancer, or leave the ranges out" $server.service.type) -}}
{{- end -}}
{{- if and (not $server.networkPolicy.enabled) (or $server.networkPolicy.api $server.networkPolicy.metrics) -}}
{{- $faults = append $faults "server.networkPolicy.enabled: false, so api and metrics beside it bound nobody: set it to true, or leave them out" -}}
{{- end -}}
{{- $monitoring := .Values.monitoring -}}
{{- if and $monitoring.serviceMonitor.enabled $monitoring.podMonitor.enabled -}}
{{- $faults = append $faults "monitoring.serviceMonitor, monitoring.podMonitor: both find the one server, and each node would be counted twice: enable one of them" -}}
{{- end -}}
{{- if and (or $monitoring.serviceMonitor.enabled $monitoring.podMonitor.enabled) $server.networkPolicy.enabled (empty $server.networkPolicy.metrics) -}}
{{- $faults = append $faults "server.networkPolicy.metrics: is empty, and a monitor is enabled: Prometheus would not reach the server: name its namespace, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- $names := list -}}
{{- range $server.endorsementRoots.volumes -}}
{{- if has .name $names -}}
{{- $faults = append $faults (printf "server.endorsementRoots.volumes: two are called %s: give each a name of its own" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if ne (empty .Values.uninstall.clusterUid) (empty .Values.uninstall.reason) -}}
{{- $faults = append $faults "uninstall.clusterUid, uninstall.reason: the latch wants both: set both, or none" -}}
{{- end -}}
{{- if and .Values.agent.netfilter.legacyTables (not .Values.agent.netfilter.enabled) -}}
{{- $faults = append $faults "agent.netfilter.legacyTables: true, and agent.netfilter.enabled is false: nobody would read them: enable it" -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "these values cannot stand together:\n  - %s" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end }}
