import type { MarksView, NodeView } from '../api/node-api.ts';
import type { Suppression, WrongResource } from '../formats/marking.ts';
import { utc } from './moment.ts';
import type { LabelledLine } from './table.ts';

/** The marks of a node's Node, why they are not as its verdict says, and what is wrong with its resource. */
export function marksLines({ marks, mode }: Pick<NodeView, 'marks' | 'mode'>): readonly LabelledLine[] {
  if (marks === null) return [];
  const { resource } = marks;
  return [
    ['Marks', marksText(marks, mode)],
    ...(resource === null
      ? []
      : [
          [
            'Resource',
            `${shownInstead[resource.shows]}: ${resource.fault ?? 'it waits for its turn'}`,
          ] as const,
        ]),
  ];
}

function marksText(marks: MarksView, mode: NodeView['mode']): string {
  const { there, wanted, suppressed, tamperedAt } = marks;
  const is = carriedText(there);
  const isRight = is === carriedText(wanted);
  return [
    `${is}${mode === 'observe' ? ' (its group is in mode observe)' : ''}`,
    ...(isRight ? [] : [`to be ${carriedText(wanted)}`]),
    ...(there.condition === wanted.condition
      ? []
      : [`condition ${there.condition ?? 'none'}, to be ${wanted.condition ?? 'none'}`]),
    ...(suppressed === null ? [] : [whys[suppressed]]),
    ...(tamperedAt === null
      ? []
      : [`label_tamper: somebody changed them, last ${utc(tamperedAt)}; they are put back`]),
  ].join('; ');
}

const shownInstead: Readonly<Record<WrongResource, string>> = {
  old: 'its NodeAttestation is an old one',
  least: 'its NodeAttestation shows the state alone',
  none: 'it has no NodeAttestation',
};

/** The same for a table: `untrusted`, `none (breaker)`. */
export function marksCell({ marks }: Pick<NodeView, 'marks'>): string {
  if (marks === null) return '';
  const { there, suppressed } = marks;
  const names = [
    ...there.taints.map((taint) => taint.replace(/=.*$/s, '').replace(/^.*\//s, '')),
    ...(there.label ? ['label'] : []),
  ];
  return `${names.join('+') || 'none'}${suppressed === null ? '' : ` (${suppressed})`}`;
}

function carriedText({ taints, label }: MarksView['there']): string {
  const all = [...taints.map((taint) => `taint ${taint}`), ...(label ? ['label trusted'] : [])];
  return all.join(', ') || 'none';
}

const whys: Readonly<Record<Suppression, string>> = {
  breaker: 'its taint waits for a person, because many nodes fail the same way: assay breaker list',
  standing_cap: 'its taint waits for a person, since a tenth of its group carries one: assay breaker list',
  our_change:
    'its taint waits for a person, since policy, references or server changed, and not the node: assay breaker list',
  limiter: 'its taint follows by itself, since too many came within ten minutes',
  doubt: 'its taint waits while the server doubts what it sees (the API, its clock, or an upgrade)',
  paused: 'a person paused all marking: assay status',
  exempt: 'it is exempt from taints',
  control_plane: 'a control plane is never marked',
  own_node: 'the server runs on it, so it is never marked',
  autoscaler: 'its machine is not registered yet',
  settling:
    'it lost its trust several times within an hour, and is marked once it has kept it for five minutes',
};
