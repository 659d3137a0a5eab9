/** Closed lists of words that members of Kubernetes' types take, as its documentation has them: the models do not say. */
export const words: Readonly<Record<string, readonly string[]>> = {
  ...sameFor(['Always', 'IfNotPresent', 'Never'], 'V1Container.imagePullPolicy'),
  ...sameFor(['File', 'FallbackToLogsOnError'], 'V1Container.terminationMessagePolicy'),
  ...sameFor(['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'], 'V1PodSpec.dnsPolicy'),
  ...sameFor(['Always', 'OnFailure', 'Never'], 'V1PodSpec.restartPolicy'),
  ...sameFor(['Always'], 'V1Container.restartPolicy'),
  ...sameFor(
    ['PreemptLowerPriority', 'Never'],
    'V1PodSpec.preemptionPolicy',
    'V1PriorityClass.preemptionPolicy',
  ),
  ...sameFor(['Exists', 'Equal'], 'V1Toleration.operator'),
  ...sameFor(['NoSchedule', 'PreferNoSchedule', 'NoExecute'], 'V1Toleration.effect', 'V1Taint.effect'),
  ...sameFor(['In', 'NotIn', 'Exists', 'DoesNotExist'], 'V1LabelSelectorRequirement.operator'),
  ...sameFor(['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'], 'V1NodeSelectorRequirement.operator'),
  ...sameFor(['DoNotSchedule', 'ScheduleAnyway'], 'V1TopologySpreadConstraint.whenUnsatisfiable'),
  ...sameFor(
    ['Honor', 'Ignore'],
    'V1TopologySpreadConstraint.nodeAffinityPolicy',
    'V1TopologySpreadConstraint.nodeTaintsPolicy',
  ),
  ...sameFor(
    ['RuntimeDefault', 'Localhost', 'Unconfined'],
    'V1SeccompProfile.type',
    'V1AppArmorProfile.type',
  ),
  ...sameFor(['OnRootMismatch', 'Always'], 'V1PodSecurityContext.fsGroupChangePolicy'),
  ...sameFor(['Merge', 'Strict'], 'V1PodSecurityContext.supplementalGroupsPolicy'),
  ...sameFor(['Default', 'Unmasked'], 'V1SecurityContext.procMount'),
  ...sameFor(['None', 'HostToContainer', 'Bidirectional'], 'V1VolumeMount.mountPropagation'),
  ...sameFor(['Disabled', 'IfPossible', 'Enabled'], 'V1VolumeMount.recursiveReadOnly'),
  ...sameFor(
    ['', 'DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket', 'CharDevice', 'BlockDevice'],
    'V1HostPathVolumeSource.type',
  ),
  ...sameFor(['', 'Memory', 'HugePages'], 'V1EmptyDirVolumeSource.medium'),
  ...sameFor(
    ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod'],
    'V1PersistentVolumeClaimSpec.accessModes',
  ),
  ...sameFor(['Filesystem', 'Block'], 'V1PersistentVolumeClaimSpec.volumeMode'),
  ...sameFor(
    ['TCP', 'UDP', 'SCTP'],
    'V1ContainerPort.protocol',
    'V1ServicePort.protocol',
    'V1NetworkPolicyPort.protocol',
  ),
  ...sameFor(['HTTP', 'HTTPS'], 'V1HTTPGetAction.scheme'),
  ...sameFor(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'], 'V1ServiceSpec.type'),
  ...sameFor(['None', 'ClientIP'], 'V1ServiceSpec.sessionAffinity'),
  ...sameFor(
    ['Cluster', 'Local'],
    'V1ServiceSpec.internalTrafficPolicy',
    'V1ServiceSpec.externalTrafficPolicy',
  ),
  ...sameFor(['SingleStack', 'PreferDualStack', 'RequireDualStack'], 'V1ServiceSpec.ipFamilyPolicy'),
  ...sameFor(['IPv4', 'IPv6'], 'V1ServiceSpec.ipFamilies'),
  ...sameFor(['Ingress', 'Egress'], 'V1NetworkPolicySpec.policyTypes'),
  ...sameFor(['IfHealthyBudget', 'AlwaysAllow'], 'V1PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy'),
  ...sameFor(
    ['RollingUpdate', 'OnDelete'],
    'V1DaemonSetUpdateStrategy.type',
    'V1StatefulSetUpdateStrategy.type',
  ),
  ...sameFor(['Recreate', 'RollingUpdate'], 'V1DeploymentStrategy.type'),
  ...sameFor(['OrderedReady', 'Parallel'], 'V1StatefulSetSpec.podManagementPolicy'),
  ...sameFor(
    ['Retain', 'Delete'],
    'V1StatefulSetPersistentVolumeClaimRetentionPolicy.whenDeleted',
    'V1StatefulSetPersistentVolumeClaimRetentionPolicy.whenScaled',
  ),
  ...sameFor(['In', 'NotIn', 'Exists', 'DoesNotExist'], 'V1ScopedResourceSelectorRequirement.operator'),
  ...sameFor(
    [
      'Terminating',
      'NotTerminating',
      'BestEffort',
      'NotBestEffort',
      'PriorityClass',
      'CrossNamespacePodAffinity',
    ],
    'V1ScopedResourceSelectorRequirement.scopeName',
  ),
  ...sameFor(['Allow', 'Forbid', 'Replace'], 'V1CronJobSpec.concurrencyPolicy'),
  ...sameFor(['NonIndexed', 'Indexed'], 'V1JobSpec.completionMode'),
  ...sameFor(['TerminatingOrFailed', 'Failed'], 'V1JobSpec.podReplacementPolicy'),
  ...sameFor(['ServiceAccount', 'User', 'Group'], 'RbacV1Subject.kind'),
  ...sameFor(['Role', 'ClusterRole'], 'V1RoleRef.kind'),
  ...sameFor(['rbac.authorization.k8s.io'], 'V1RoleRef.apiGroup'),
  ...sameFor(['', 'rbac.authorization.k8s.io'], 'RbacV1Subject.apiGroup'),
  ...sameFor(['Namespaced', 'Cluster'], 'V1CustomResourceDefinitionSpec.scope'),
  ...sameFor(['string', 'integer', 'number', 'boolean', 'date'], 'V1CustomResourceColumnDefinition.type'),
  ...sameFor(['None', 'Webhook'], 'V1CustomResourceConversion.strategy'),
  ...sameFor(['string', 'integer', 'number', 'boolean', 'object', 'array'], 'V1JSONSchemaProps.type'),
  ...sameFor(['Fail', 'Ignore'], 'V1ValidatingAdmissionPolicySpec.failurePolicy'),
  ...sameFor(['Exact', 'Equivalent'], 'V1MatchResources.matchPolicy'),
  ...sameFor(['CREATE', 'UPDATE', 'DELETE', 'CONNECT', '*'], 'V1NamedRuleWithOperations.operations'),
  ...sameFor(['Cluster', 'Namespaced', '*'], 'V1NamedRuleWithOperations.scope'),
  ...sameFor(['Unauthorized', 'Forbidden', 'Invalid', 'RequestEntityTooLarge'], 'V1Validation.reason'),
  ...sameFor(['Deny', 'Warn', 'Audit'], 'V1ValidatingAdmissionPolicyBindingSpec.validationActions'),
  ...sameFor(
    // The last four are verbs of ours on `attestations`.
    [
      ...['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'],
      ...['mark', 'exempt', 'read', 'operate', 'administer'],
    ],
    'V1PolicyRule.verbs',
  ),
  ...sameFor(
    [
      ...['ALL', 'AUDIT_CONTROL', 'AUDIT_READ', 'AUDIT_WRITE', 'BLOCK_SUSPEND', 'BPF', 'CHECKPOINT_RESTORE'],
      ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'IPC_LOCK', 'IPC_OWNER', 'KILL'],
      ...['LEASE', 'LINUX_IMMUTABLE', 'MAC_ADMIN', 'MAC_OVERRIDE', 'MKNOD', 'NET_ADMIN', 'NET_BIND_SERVICE'],
      ...['NET_BROADCAST', 'NET_RAW', 'PERFMON', 'SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYSLOG'],
      ...['SYS_ADMIN', 'SYS_BOOT', 'SYS_CHROOT', 'SYS_MODULE', 'SYS_NICE', 'SYS_PACCT', 'SYS_PTRACE'],
      ...['SYS_RAWIO', 'SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'WAKE_ALARM'],
    ],
    'V1Capabilities.add',
    'V1Capabilities.drop',
  ),
};

/** Members that the API asks for where the models call them optional: some defaults are there only since 1.30. */
export const alsoRequired: Readonly<Record<string, readonly string[]>> = {
  V1StatefulSetSpec: ['serviceName'],
  V1Container: ['image'],
  V1ConfigMapKeySelector: ['name'],
  V1SecretKeySelector: ['name'],
  V1ConfigMapVolumeSource: ['name'],
  V1SecretVolumeSource: ['secretName'],
  V1ConfigMapProjection: ['name'],
  V1SecretProjection: ['name'],
  V1DownwardAPIVolumeFile: ['path'],
  V1NetworkPolicySpec: ['podSelector'],
  V1PriorityClass: ['value'],
  V1ServiceSpec: ['ports'],
  V1NamedRuleWithOperations: ['apiGroups', 'apiVersions', 'operations', 'resources'],
  V1ValidatingAdmissionPolicy: ['spec'],
  V1ValidatingAdmissionPolicySpec: ['matchConstraints'],
  RbacV1Subject: ['name'],
  V1RoleRef: ['apiGroup'],
  V1CustomResourceDefinitionVersion: ['schema'],
  V1DaemonSet: ['spec'],
  V1StatefulSet: ['spec'],
  V1Deployment: ['spec'],
  V1Job: ['spec'],
};

/** Of these members an object of the type has one and no more; `null` stands for all but `name`. */
export const exactlyOne: Readonly<Record<string, readonly string[] | null>> = {
  V1Volume: null,
  V1VolumeProjection: null,
  V1EnvVarSource: null,
};

/** Of these one at most. */
export const atMostOne: Readonly<Record<string, readonly string[]>> = {
  V1EnvVar: ['value', 'valueFrom'],
  V1PodDisruptionBudgetSpec: ['minAvailable', 'maxUnavailable'],
  V1JSONSchemaProps: ['properties', 'additionalProperties'],
};

/** How a probe looks: each probe has one way. */
export const probeWays = ['exec', 'httpGet', 'tcpSocket', 'grpc'];

/** By what items of a list differ. */
export const listKeys: Readonly<Record<string, readonly string[]>> = {
  'V1PodSpec.containers': ['name'],
  'V1PodSpec.initContainers': ['name'],
  'V1PodSpec.volumes': ['name'],
  'V1Container.env': ['name'],
  'V1Container.volumeMounts': ['mountPath'],
  'V1Container.ports': ['containerPort', 'protocol'],
  'V1ServiceSpec.ports': ['name'],
  'V1ConfigMapVolumeSource.items': ['path'],
  'V1SecretVolumeSource.items': ['path'],
  'V1ObjectMeta.ownerReferences': ['uid'],
  'V1CustomResourceDefinitionSpec.versions': ['name'],
  'V1CustomResourceDefinitionVersion.additionalPrinterColumns': ['name'],
  'V1ValidatingAdmissionPolicySpec.variables': ['name'],
  'V1ValidatingAdmissionPolicySpec.matchConditions': ['name'],
};

function sameFor(
  list: readonly string[],
  ...members: readonly string[]
): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(members.map((member) => [member, list]));
}
