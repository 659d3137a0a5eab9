import type { ReferenceCandidate, ReferenceCandidates } from '../api/candidates-api.ts';
import { declareActive } from '../formats/declared.ts';
import { kindWords, mostCaptured, type Reference, type ReferenceKind } from '../formats/reference.ts';
import { approveCommand } from '../policy/advice.ts';
import { aspects } from '../policy/aspects.ts';
import { isNoModel } from '../policy/capture.ts';
import { type KeptUnknown, unknownIn } from '../policy/kept-unknown.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import { nodeWord, shellWord } from '../wire/advice.ts';
import {
  type AlikeNodes,
  byNode,
  byNodes,
  type CandidateFilter,
  type CandidateStatus,
  group,
} from './alike-nodes.ts';
import { FreeNames } from './free-name.ts';
import type { ReferenceStore } from './ports.ts';

/** Ports that gathering needs; `server.ts` fills them. */
export interface CandidatePorts {
  /** The status of each node that is shown. */
  statuses(): readonly CandidateStatus[];
  readonly store: Pick<ReferenceStore, 'list'>;
  readonly policy: () => { readonly groups: readonly PolicyGroup[] };
  /** The signed directory that says what some references are; null if there is none. */
  readonly directory: string | null;
  /** Milliseconds since the epoch. */
  now(): number;
  /** How long a verdict holds without a new one, in milliseconds. */
  readonly unknownAfter: number;
}

/** The most candidates that are listed, those of most nodes first; the rest is counted. */
const mostCandidates = 256;

/**
 * Findings of nodes that no reference in force has, grouped by their content, with the step that would put each in force. It
 * reads what was remembered when each node was judged, and judges nothing.
 */
export async function gatherCandidates(
  ports: CandidatePorts,
  filter: CandidateFilter = {},
): Promise<ReferenceCandidates> {
  const references = await ports.store.list();
  const statuses = ports.statuses();
  const { alike, held, unknown } = group(statuses, filter);
  const sorted = [...alike.values()].sort(byNodes);
  const naming = new Naming(references, ports);
  const items = sorted.slice(0, mostCandidates).flatMap((one) => naming.candidate(one) ?? []);
  const left = sorted.slice(mostCandidates);
  return {
    items,
    next: null,
    nodes: statuses.length,
    unknown,
    more: { candidates: left.length, nodes: left.reduce((sum, { nodes }) => sum + nodes.length, 0) },
    held: [...held].map(([node, codes]) => ({ node, codes: [...codes] })).sort(byNode),
  };
}

interface CandidateStep extends Pick<ReferenceCandidate, 'knownBy' | 'step' | 'name' | 'command'> {
  readonly notes: readonly string[];
}

/** Says of each candidate which step puts it in force; no two get one name. */
class Naming {
  readonly #references: readonly Reference[];
  readonly #ports: CandidatePorts;
  readonly #names: FreeNames;

  constructor(references: readonly Reference[], ports: CandidatePorts) {
    this.#references = references;
    this.#ports = ports;
    this.#names = new FreeNames(references.map(({ name }) => name));
  }

  /** Null for what another version has remembered, until the next answer. */
  candidate(alike: AlikeNodes): ReferenceCandidate | null {
    const { aspect, kind, group, firstSeen } = alike;
    const unknown = alike.nodes[0] && unknownIn(alike.nodes[0].memory)[aspect];
    if (unknown === undefined) return null;
    const nodes = alike.nodes.map(({ name }) => name).sort();
    const lastSeen = alike.nodes.reduce((last, { verifiedAt }) => Math.max(last, verifiedAt ?? 0), 0);
    const { notes, ...step } = this.#stepFor(alike, unknown);
    const broken = unknown.rules.join(', ');
    return {
      kind,
      group,
      set: unknown.set,
      text: textOf(alike, unknown),
      things: unknown.things.map((thing) => ({ ...thing })),
      codes: [...unknown.codes],
      rules: [...unknown.rules],
      signed: unknown.signed,
      nodes,
      firstSeen: new Date(firstSeen).toISOString(),
      lastSeen: lastSeen === 0 ? null : new Date(lastSeen).toISOString(),
      ...step,
      notes: [
        ...notes,
        ...(broken === ''
          ? []
          : [`They also break a rule of the policy, which no reference changes: ${broken}.`]),
      ],
    };
  }

  #stepFor(alike: AlikeNodes, unknown: KeptUnknown): CandidateStep {
    const { kind } = alike;
    const known = this.#references.find((one) => one.name === unknown.knownBy && one.kind === kind);
    if (known?.state === 'staged' || known?.state === 'retired') {
      const { name, state } = known;
      const { directory } = this.#ports;
      const knownBy = { name, state };
      const note = `Reference ${name} has it, and is ${state}.`;
      if (directory !== null && known.declared !== undefined)
        return { ...none(note), knownBy, notes: [note, declareActive(name, directory)] };
      return {
        knownBy,
        step: 'approve',
        name: null,
        command: approveCommand(name, kind),
        notes: [note],
      };
    }
    if (known?.state === 'active')
      return none(`Reference ${known.name} is in force now: their next answers count.`);
    if (unknown.lacks !== null) return none(`It cannot be captured: ${unknown.lacks}.`);
    if (kind !== 'boot' && unknown.rules.some(isNoModel))
      return none('It cannot be captured: a node that breaks a rule is no model for others.');
    return this.#captureFor(alike, unknown);
  }

  #captureFor({ kind, group, nodes }: AlikeNodes, unknown: KeptUnknown): CandidateStep {
    const rules = this.#ports.policy().groups.find(({ name }) => name === group);
    if (rules === undefined)
      return none(
        `The policy has no group ${group}: with no group of it, nothing is compared with references.`,
      );
    const { unknownAfter, now } = this.#ports;
    const fresh = nodes.filter(({ verifiedAt }) => verifiedAt !== null && now() <= verifiedAt + unknownAfter);
    const models = fresh.map(({ name }) => name).sort();
    const [first] = models;
    if (first === undefined)
      return none('None of them has proven itself lately: wait for the next answer of one.');
    const taken = unknown.own ? models.slice(0, mostCaptured) : [first];
    const { only, inInitrd = false } = unknown;
    const paths = (only ?? []).map(nodeWord);
    // Attack: a name of a file that a shell reads as something else than a person.
    if (paths.includes(null))
      return none('It cannot be captured by a command: a file has a name that nobody can type.');
    // Lists of the group count for initrds, whatever references the policy names.
    const named = inInitrd ? null : namedBy(kind, rules);
    const wanted = named?.find((name) => this.#names.take(name)) ?? null;
    const name = wanted ?? this.#names.makeFor(group, kind, now());
    const words = [
      'assay reference capture',
      ...taken.map(shellWord),
      ...(kind === 'boot' ? [] : [`--kind ${kind}`]),
      ...(inInitrd ? ['--initrd'] : []),
      ...paths.map((path) => `--only ${path}`),
      `--name ${name} --staged`,
    ];
    const notes = [
      // Attack: a node that ran the same first, and something else behind it that nobody is shown.
      ...(kind === 'runtime' && only === undefined
        ? [
            `This takes all that ${inInitrd ? `is in the initrd of ${first}` : `${first} ran`}, also what is not listed here: look at ${name} (assay reference diff) before you approve it.`,
          ]
        : []),
      ...(models.length > taken.length && unknown.own
        ? [`A capture takes ${mostCaptured} nodes: ask again for the others afterwards.`]
        : []),
      ...(named !== null && (wanted === null || taken.length > 1)
        ? [
            `The policy compares group ${group} with references that it names: name ${taken.length > 1 ? 'all that this makes' : 'this one'} in it, too.`,
          ]
        : []),
    ];
    return { knownBy: null, step: 'capture', name, command: words.join(' '), notes };
  }
}

function none(note: string): CandidateStep {
  return { knownBy: null, step: null, name: null, command: null, notes: [note] };
}

function namedBy(kind: ReferenceKind, { rules }: PolicyGroup): readonly string[] | null {
  const aspect = aspects.find(({ referenceKind }) => referenceKind === kind);
  return aspect?.named?.(rules[aspect.name]) ?? null;
}

function textOf({ kind, group, nodes }: AlikeNodes, unknown: KeptUnknown): string {
  const count = nodes.length;
  const verb = kindWords[unknown.inInitrd ? 'boot' : kind][count === 1 ? 'one' : 'many'];
  const whats = [...new Set(unknown.things.map(({ what }) => what))];
  const list = whats.length < 2 ? whats.join('') : `${whats.slice(0, -1).join(', ')} and ${whats.at(-1)}`;
  const each = unknown.own && count > 1 ? '; each needs a reference of its own' : '';
  return `${count} ${count === 1 ? 'node' : 'nodes'} of group ${group} ${verb} something unknown: ${list}${each}`;
}
