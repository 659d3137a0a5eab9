import { type ReasonCode, reasonCodes } from '../../wire/reasons.ts';
import { aspects } from '../aspects.ts';
import { unproven } from '../finding.ts';
import { covers, isEverything } from '../glob.ts';
import type { Policy, PolicyGroup } from '../policy.ts';
import type { LocatedFault } from './policy-error.ts';

/** Seconds between two challenges, where a server is not set otherwise. */
const usualChallenge = 60;

/** Rules that are allowed, and may not be what was meant. */
export function warningsOf({ groups }: Pick<Policy, 'groups'>): LocatedFault[] {
  const warnings = groups.flatMap((group, index) =>
    [
      ...ofReach(group, groups.slice(0, index)),
      ...ofLabels(group),
      ...ofAspects(group),
      ...ofFreshness(group),
      ...ofGate(group),
    ].map(({ path, text }) => ({ path: ['groups', index, ...path], text })),
  );
  if (!groups.some(({ nodes, labels }) => nodes.some(isEverything) && Object.keys(labels).length === 0))
    warnings.push({
      path: ['groups'],
      text: 'no group matches every node: nodes without a group are observed and never trusted. End with a group for "*"',
    });
  return warnings;
}

function ofReach({ nodes }: PolicyGroup, above: readonly PolicyGroup[]): LocatedFault[] {
  const taken = above.filter(({ labels }) => Object.keys(labels).length === 0);
  const hiding = (glob: string) => taken.find((group) => group.nodes.some((wide) => covers(wide, glob)));
  if (!nodes.every((glob) => hiding(glob) !== undefined)) return [];
  const name = hiding(nodes[0] ?? '')?.name;
  return [{ path: ['nodes'], text: `this group never applies: group ${name} above matches all its nodes` }];
}

/** Attack: a kubelet gives its own Node another label, and so moves to a group that asks for less. */
function ofLabels({ labels }: PolicyGroup): LocatedFault[] {
  return Object.keys(labels).flatMap((label) => {
    if (isBeyondKubelets(label)) return [];
    const text = `a kubelet can give its own Node the label ${label} or drop it, and so choose its group: choose by names, or by a label below node-restriction.kubernetes.io/`;
    return [{ path: ['labels', label], text }];
  });
}

/** Labels that NodeRestriction keeps a kubelet from changing: those of Kubernetes, except the ones that kubelets set themselves. */
function isBeyondKubelets(label: string): boolean {
  const domain = label.slice(0, Math.max(0, label.indexOf('/')));
  const isBelow = (wide: string) => domain === wide || domain.endsWith(`.${wide}`);
  if (isBelow('node-restriction.kubernetes.io')) return true;
  if (!isBelow('kubernetes.io') && !isBelow('k8s.io')) return false;
  return !ofKubelets.some((own) => label === own || isBelow(own));
}

const ofKubelets = [
  ...['kubelet.kubernetes.io', 'node.kubernetes.io'],
  ...['hostname', 'os', 'arch', 'instance-type'].flatMap((name) => [
    `kubernetes.io/${name}`,
    `beta.kubernetes.io/${name}`,
  ]),
  ...['topology.kubernetes.io', 'failure-domain.beta.kubernetes.io'].flatMap((domain) => [
    `${domain}/zone`,
    `${domain}/region`,
  ]),
];

function ofAspects(group: PolicyGroup): LocatedFault[] {
  if (group.tpm === 'absent') return [];
  const told = aspects.flatMap(({ name, doubts }) => doubts(group.rules[name], group));
  const codes = new Set(told.flatMap(({ path }) => (path[0] === 'severity' ? [path[1]] : [])));
  return [...told, ...ofSeverity(group).filter(({ path }) => !codes.has(path[1]))];
}

/** These weigh no more of themselves. */
const warnings: readonly ReasonCode[] = ['kexec_possible', 'kernel_outdated', 'lockdown_off'];

/** Codes of what is not proven that alone keep a boot from being affirmed that is good otherwise. */
const withholding: readonly ReasonCode[] = ['kexec_detected', 'facts_unavailable'];

/** An aspect that is required is worth what its findings weigh. */
function ofSeverity({ require, severity }: PolicyGroup): LocatedFault[] {
  return reasonCodes.flatMap((code) => {
    const weight = severity[code] ?? 'fail';
    if (weight === 'fail' || warnings.includes(code)) return [];
    if (withholding.includes(code) && require.includes('boot')) {
      const text = `${weight} only: a node with ${code} may be trusted, although boot is required`;
      return [{ path: ['severity', code], text }];
    }
    if (unproven.has(code)) return [];
    const aspect = aspects.find(
      ({ name, advice }) => require.some((one) => one === name) && Object.hasOwn(advice, code),
    );
    if (aspect === undefined) return [];
    const text = `${weight} only: ${code} makes no node untrusted, although ${aspect.name} is required`;
    return [{ path: ['severity', code], text }];
  });
}

function ofGate({ gate, mode }: PolicyGroup): LocatedFault[] {
  if (gate.timeout === null || mode !== 'observe') return [];
  return [
    { path: ['gate'], text: 'in mode observe a gate holds nothing back, so that this does nothing yet' },
  ];
}

function ofFreshness({ freshness }: PolicyGroup): LocatedFault[] {
  if (freshness === null || freshness > usualChallenge) return [];
  const text = `by default the server asks nodes every ${usualChallenge} s, so they would be unknown in between`;
  return [{ path: ['freshness'], text }];
}
