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
{{- range $name, $image := dict "agent" .Values.image.agent "server" .Values.image.server "trial" .Values.image.trial -}}
{{- if regexMatch "^([^/]*[.][^/]*|localhost)/" $image.repository -}}
{{- $faults = append $faults (printf "image.%s.repository: %s begins with a host, and nothing is fetched without image.registry: write the host there" $name $image.repository) -}}
{{- end -}}
{{- end -}}
{{- else if not (regexMatch "^([^/]*[.:][^/]*|localhost)(/|$)" .Values.image.registry) -}}
{{- $faults = append $faults (printf "image.registry: %s begins with no host, and a runtime would ask docker.io for it: write the host before it, such as docker.io/%s" .Values.image.registry .Values.image.registry) -}}
{{- end -}}

{{- /* What the chart sets itself. */ -}}
{{- range $key, $instead := dict "stateDir" "server.persistence" "policy" "policy" "names" "server.names" "trial" "trial.enabled" "endorsementRoots" "server.endorsementRoots" "cloudProgram" "server.cloud.program" "declared" "server.declared" "webhook" "server.webhook" "host" "" "agentPort" "" "apiPort" "" "metricsPort" "" -}}
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

{{- $backup := dig "backup" dict $settings -}}
{{- if hasKey $backup "directory" -}}
{{- $faults = append $faults "server.settings.backup.directory: the chart sets it: use server.backup.existingClaim" -}}
{{- end -}}
{{- if and (dig "keys" "wrappingKeyFile" "" $settings) $server.keys.secret.name -}}
{{- $faults = append $faults "server.settings.keys.wrappingKeyFile: the chart sets it: leave it out, or leave out server.keys.secret" -}}
{{- end -}}
{{- if and $backup.everyHours (empty $server.backup.existingClaim) -}}
{{- $faults = append $faults "server.backup.existingClaim: is empty, and server.settings.backup.everyHours asks for copies of the database, which need a volume of their own: make a PersistentVolumeClaim in the server's namespace, and name it here" -}}
{{- end -}}
{{- if and $server.backup.existingClaim (not $backup.everyHours) -}}
{{- $faults = append $faults "server.settings.backup.everyHours: is missing, and server.backup.existingClaim names a volume for copies: say how often they are made, such as 24" -}}
{{- end -}}
{{- if and $server.backup.existingClaim (eq $server.backup.existingClaim (default "state-assay-server-0" $server.persistence.existingClaim)) -}}
{{- $faults = append $faults (printf "server.backup.existingClaim: %s holds the state, and copies there are lost with it: name another claim" $server.backup.existingClaim) -}}
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

{{- $isLatched := include "assay.isLatched" . -}}
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

{{- with include "assay.mustDeny" . -}}
{{- if not $.Values.admission.enabled -}}
{{- $faults = append $faults (printf "admission.enabled: false, and %s: whoever may write Nodes could set the marks that pods rest on: set it to true" .) -}}
{{- else if not (has $.Values.admission.action (list "" "Deny")) -}}
{{- $faults = append $faults (printf "admission.action: %s, and %s: whoever may write Nodes could set the marks that pods rest on: set it to Deny, or leave it out" $.Values.admission.action .) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.trial.enabled $isLatched -}}
{{- $faults = append $faults "trial.enabled: true, and trust is enabled for good in this cluster (trust.latched): nothing that a trial says may count there: set it to false" -}}
{{- end -}}
{{- range .Values.policy.groups -}}
{{- if and $.Values.trial.enabled (not $isLatched) (ne (.mode | default "observe") "observe") -}}
{{- $faults = append $faults (printf "trial.enabled: true, and the group %s is in %s, which a trial holds in observe: set the mode of the group to observe, or trial.enabled to false" .name .mode) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.trial.enabled (ne .Values.agent.tpmBroker "container") -}}
{{- $faults = append $faults (printf "trial.enabled: true, and agent.tpmBroker is %s, so that nobody would use its TPM: set agent.tpmBroker to container" .Values.agent.tpmBroker) -}}
{{- end -}}
{{- $isDevice := hasPrefix "device:" .Values.agent.tcti -}}
{{- if and (not $isDevice) (not .Values.trial.enabled) -}}
{{- $faults = append $faults "agent.tcti: names a TPM that is a program, whose keys anybody may copy, and trial.enabled is false: name a device of the nodes, or set trial.enabled to true" -}}
{{- end -}}
{{- if and $isDevice .Values.trial.enabled (ne .Values.agent.tcti (include "assay.default.tcti" .)) -}}
{{- $faults = append $faults (printf "agent.tcti: %s, and trial.enabled is true, so that nobody would use that TPM: leave agent.tcti out, or set trial.enabled to false" .Values.agent.tcti) -}}
{{- end -}}
{{- if and (ne .Values.agent.tcti (include "assay.default.tcti" .)) (ne .Values.agent.tpmBroker "container") -}}
{{- $faults = append $faults (printf "agent.tcti: names a TPM, and agent.tpmBroker is %s, whose program has its own setting: leave agent.tcti out, or set agent.tpmBroker to container" .Values.agent.tpmBroker) -}}
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
{{- if and (not $server.networkPolicy.enabled) (or $server.networkPolicy.api $server.networkPolicy.metrics $server.networkPolicy.egress) -}}
{{- $faults = append $faults "server.networkPolicy.enabled: false, so api, metrics and egress beside it bound nobody: set it to true, or leave them out" -}}
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

{{- if and (eq (get .Values.agent.updateStrategy "type") "OnDelete") .Values.agent.updateStrategy.rollingUpdate -}}
{{- $faults = append $faults "agent.updateStrategy.rollingUpdate: counts for nothing with the type OnDelete: leave one of both out" -}}
{{- end -}}
{{- if and (hasKey .Values "enabled") (not .Values.enabled) -}}
{{- $faults = append $faults "enabled: false, and no chart above this one goes by it: name it as the condition of the dependency (condition: assay.enabled), or leave it out" -}}
{{- end -}}

{{- /* A release without its namespaces could not even be removed. Where no cluster is asked, nothing is known. */ -}}
{{- if and (not .Values.namespaces.create) (lookup "v1" "Namespace" "" "kube-system") -}}
{{- range $namespace := list .Values.namespaces.server .Values.namespaces.agents -}}
{{- if not (lookup "v1" "Namespace" "" $namespace) -}}
{{- $faults = append $faults (printf "namespaces.create: false, and the cluster has no namespace %s: make it, with its Pod Security level (docs/install.md), or set namespaces.create to true" $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What is added to a pod replaces nothing that the chart sets there. */ -}}
{{- $set := list "NODE_OPTIONS" "PATH" "MALLOC_ARENA_MAX" "MALLOC_TRIM_THRESHOLD_" "MALLOC_MMAP_THRESHOLD_" -}}
{{- range $server.cloud.env }}{{ $set = append $set .name }}{{ end -}}
{{- range $server.extraEnv -}}
{{- if hasPrefix "ASSAY_" .name -}}
{{- $faults = append $faults (printf "server.extraEnv: %s would override a setting of the server unseen: use server.settings, and server.cloud.env for the program of a cloud" .name) -}}
{{- else if has .name $set -}}
{{- $faults = append $faults (printf "server.extraEnv: %s is set already, by the image, the chart or here: leave it out" .name) -}}
{{- end -}}
{{- $set = append $set .name -}}
{{- end -}}
{{- $set = list "PATH" -}}
{{- range include "assay.agent.env" . | fromYamlArray }}{{ $set = append $set .name }}{{ end -}}
{{- range .Values.agent.extraEnv -}}
{{- if has .name $set -}}
{{- $faults = append $faults (printf "agent.extraEnv: %s is set already, by the image, the chart or here: leave it out" .name) -}}
{{- else if and (hasPrefix "ASSAY_" .name) (not (hasPrefix "ASSAY_AGENT_" .name)) -}}
{{- $faults = append $faults (printf "agent.extraEnv: %s is no setting of the agent, whose names begin with ASSAY_AGENT_: use one of these" .name) -}}
{{- end -}}
{{- $set = append $set .name -}}
{{- end -}}
{{- range $of, $values := dict "server" $server "agent" .Values.agent -}}
{{- range $values.extraEnv -}}
{{- if eq .name "NODE_TLS_REJECT_UNAUTHORIZED" -}}
{{- $faults = append $faults (printf "%s.extraEnv: NODE_TLS_REJECT_UNAUTHORIZED could switch off the check of certificates: leave it out" $of) -}}
{{- end -}}
{{- end -}}
{{- $mounted := list -}}
{{- range $values.extraVolumeMounts }}{{ $mounted = append $mounted .name }}{{ end -}}
{{- $volumes := list -}}
{{- range $values.extraVolumes -}}
{{- if has .name $volumes -}}
{{- $faults = append $faults (printf "%s.extraVolumes: two are called %s: give each a name of its own" $of .name) -}}
{{- end -}}
{{- if not (has .name $mounted) -}}
{{- $faults = append $faults (printf "%s.extraVolumes: nothing mounts %s: name it in %s.extraVolumeMounts, or leave it out" $of .name $of) -}}
{{- end -}}
{{- range $kind := keys (omit . "name") -}}
{{- if and (eq $of "server") (not (has $kind (list "configMap" "csi" "downwardAPI" "emptyDir" "ephemeral" "persistentVolumeClaim" "projected" "secret"))) -}}
{{- $faults = append $faults (printf "server.extraVolumes: the namespace of the server is of the level restricted, which refuses %s: use a volume of another kind" $kind) -}}
{{- end -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- range $mount := $values.extraVolumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- $faults = append $faults (printf "%s.extraVolumeMounts: %s is none of %s.extraVolumes: add it there, or leave it out" $of .name $of) -}}
{{- end -}}
{{- $path := printf "%s/" (clean .mountPath | trimSuffix "/") -}}
{{- range $taken := include "assay.extra.taken" $of | fromYamlArray -}}
{{- if or (hasPrefix (printf "%s/" $taken) $path) (hasPrefix $path (printf "%s/" $taken)) -}}
{{- $faults = append $faults (printf "%s.extraVolumeMounts: %s would hide %s, which the image or the chart fills: mount it elsewhere, such as below /extra" $of $mount.mountPath $taken) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "these values cannot stand together:\n  - %s" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end }}
