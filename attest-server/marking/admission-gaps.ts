import type { AdmissionFault, ProtectedThing } from '../formats/marking.ts';
import type { AdmissionBinding, AdmissionMatch, AdmissionPolicy, AdmissionRule } from './ports.ts';

/** How admission may let pass what it should deny. */
export interface AdmissionGap {
  readonly protects: ProtectedThing;
  readonly cause: AdmissionFault;
  /** A part of a sentence: `the binding assay-marks is missing`. */
  readonly text: string;
}

/** Objects that a policy must cover, as in manifests/base/admission. */
interface Protection {
  readonly rules: readonly Pick<AdmissionRule, 'apiGroups' | 'operations' | 'resources'>[];
  /** Names of its own matchConditions. Each other one makes an exception. */
  readonly conditions: readonly string[];
}

const protections: Readonly<Record<ProtectedThing, Protection>> = {
  marks: {
    rules: [{ apiGroups: [''], operations: ['CREATE', 'UPDATE'], resources: ['nodes', 'nodes/status'] }],
    conditions: ['not-the-server', 'marks-differ'],
  },
  attestations: {
    rules: [
      {
        apiGroups: ['assay.dev'],
        operations: ['CREATE', 'UPDATE', 'DELETE'],
        resources: ['nodeattestations', 'nodeattestations/status'],
      },
    ],
    conditions: [],
  },
  latch: {
    rules: [
      { apiGroups: ['assay.dev'], operations: ['UPDATE', 'DELETE'], resources: ['assaylatches'] },
      {
        apiGroups: ['apiextensions.k8s.io'],
        operations: ['UPDATE', 'DELETE'],
        resources: ['customresourcedefinitions'],
      },
    ],
    conditions: ['is-latch'],
  },
};

/** The name of both the policy and its binding. */
export function policyNameOf(protects: ProtectedThing): string {
  return `assay-${protects}`;
}

/** None: it denies, as far as that can be told without reading its expressions. */
export function admissionGaps(
  protects: ProtectedThing,
  policy: AdmissionPolicy | null,
  binding: AdmissionBinding | null,
): readonly AdmissionGap[] {
  const name = policyNameOf(protects);
  const gap = (cause: AdmissionFault, text: string): AdmissionGap => ({ protects, cause, text });
  if (policy === null) return [gap('missing', `the policy ${name} is missing`)];
  if (binding === null) return [gap('missing', `the binding ${name} is missing`)];
  if (binding.policyName !== name)
    return [gap('missing', `the binding ${name} is of the policy ${binding.policyName}`)];
  const gaps: AdmissionGap[] = [];
  if (!binding.actions.includes('Deny'))
    gaps.push(gap('not_denying', `the binding ${name} does not deny (${binding.actions.join(', ')})`));
  if (policy.failurePolicy !== 'Fail')
    gaps.push(gap('not_denying', `the policy ${name} lets pass what it cannot evaluate (failurePolicy)`));
  if (!policy.hasValidations)
    gaps.push(gap('not_denying', `the policy ${name} validates nothing (validations)`));
  const narrowed = [
    ...narrowedPolicy(policy, protections[protects]).map((field) => `the policy ${name} (${field})`),
    ...narrowedBinding(binding).map((field) => `the binding ${name} (${field})`),
  ];
  if (narrowed.length > 0) gaps.push(gap('narrowed', `less is looked at by ${narrowed.join(', ')}`));
  return gaps;
}

/** The fields that make exceptions. */
function narrowedPolicy(policy: AdmissionPolicy, { rules, conditions }: Protection): readonly string[] {
  const { match } = policy;
  const isWhole = rules.every((wanted) => match.resourceRules.some((rule) => covers(rule, wanted)));
  return [
    ...(isWhole ? [] : ['matchConstraints.resourceRules']),
    ...exceptionsOf(match).map((field) => `matchConstraints.${field}`),
    ...policy.conditions
      .filter((condition) => !conditions.includes(condition))
      .map((condition) => `matchConditions: ${condition}`),
    ...(policy.hasParams ? ['paramKind'] : []),
  ];
}

function narrowedBinding({ match, hasParams }: AdmissionBinding): readonly string[] {
  const isBound = match !== null && match.resourceRules.length > 0;
  return [
    ...(isBound ? ['matchResources.resourceRules'] : []),
    ...(match === null ? [] : exceptionsOf(match).map((field) => `matchResources.${field}`)),
    ...(hasParams ? ['paramRef'] : []),
  ];
}

function exceptionsOf(match: AdmissionMatch): readonly string[] {
  return (['excludeResourceRules', 'objectSelector'] as const).filter(
    (field) => Object.keys(match[field]).length > 0,
  );
}

function covers(rule: AdmissionRule, wanted: Protection['rules'][number]): boolean {
  const isIn = (some: readonly string[], all: readonly string[]) => some.every((one) => all.includes(one));
  return (
    isIn(wanted.apiGroups, rule.apiGroups) &&
    isIn(['*'], rule.apiVersions) &&
    isIn(wanted.operations, rule.operations) &&
    isIn(wanted.resources, rule.resources) &&
    rule.resourceNames.length === 0 &&
    rule.scope === '*'
  );
}
