import { hash } from 'node:crypto';
import pLimit from 'p-limit';
import { inSteps } from '../formats/in-steps.ts';
import { plainName, type Reference, type ReferenceKind } from '../formats/reference.ts';
import { NotNow } from '../formats/reference-life.ts';
import {
  captureReferencesInSteps,
  noModelOf,
  standingAgainst,
  standingInSteps,
  type VouchedAnswer,
} from '../policy/capture.ts';
import { CaptureError } from '../policy/capture-error.ts';
import { newOfKind } from '../policy/kept-unknown.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { UnknownThing } from '../policy/unknown.ts';
import type { Proven } from '../verify/proven.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import type { NodeState, Reason, Verdict } from '../wire/verdict.ts';
import { brief } from './brief.ts';
import type { ReferenceStore } from './ports.ts';

/** Ports that capturing needs; `server.ts` fills them. */
export interface CapturePorts {
  /** Kept evidence of a node by its digest, proven again; or why there is no proof. */
  prove(
    node: string,
    digest: string,
  ): Promise<{ readonly proven: Proven } | { readonly proven: null; readonly note: string }>;
  /** The latest verdict, and the digest of the evidence behind it; null if there is none. */
  status(node: string): {
    readonly verdict: Verdict | null;
    readonly verifiedAt: number | null;
    readonly evidenceDigest: string | null;
    /** Since that verdict. */
    readonly memory: Readonly<Record<string, unknown>>;
  } | null;
  groupOf(node: string): PolicyGroup;
  readonly store: Pick<ReferenceStore, 'list' | 'addAll'>;
  /** Milliseconds since the epoch. */
  now(): number;
  /** How long a verdict holds without a new one, in milliseconds. */
  readonly unknownAfter: number;
  /** Whether people may not approve what they captured, which is then staged. */
  readonly separate: boolean;
  /** Puts the stored references in force. */
  changed(): Promise<void>;
}

export interface CaptureRequest {
  /** At least one. */
  readonly nodes: readonly string[];
  readonly name: string;
  readonly kind: ReferenceKind;
  /** For which group it is; null: that of the nodes. */
  readonly group: string | null;
  readonly staged: boolean;
  /** For kind `runtime`: these files alone, by path or digest; null: all. */
  readonly only: readonly string[] | null;
  /** For kind `runtime`: the content of the initrds that the nodes booted. */
  readonly initrd?: boolean;
  /** For kind `boot`: boot_aggregate is demanded of boots like these, if one of the nodes gave it. */
  readonly aggregate: boolean;
  /** Why; null: nobody said it, which is enough where nothing stands against the nodes. */
  readonly reason: string | null;
  /** The digest of what somebody was shown of it; null: nothing was. */
  readonly shown: string | null;
  /** Who vouches for these nodes. */
  readonly actor: string;
}

/** The references that a capture would make. */
export interface CaptureDraft {
  readonly references: CapturedReferences;
  /** Nodes against which more stands than that nobody vouched for them yet. */
  readonly against: readonly AgainstNode[];
  /** Over the references but for their moment; empty for lists of files, which grow while somebody looks at them. */
  readonly digest: string;
}

interface AgainstNode {
  readonly node: string;
  readonly state: NodeState;
  readonly reasons: readonly Reason[];
  /** Things that no reference in force has. */
  readonly news: readonly UnknownThing[];
}

/**
 * Makes references of what nodes last proved: one, or as many as it takes to cover them all. All nodes are proven before
 * any is stored, and all of these are stored at once.
 * @throws Rejection if a node is no model for others; CaptureError where it shows nothing; NotNow where a name is taken
 */
export interface Capture {
  /**
   * Makes and stores them.
   * @throws NotNow also if more than `no_reference` stands against a node and nobody said why, or was shown something else
   */
  capture(request: CaptureRequest): Promise<CapturedReferences>;
  /** Makes them, and stores none. @throws what `capture` would throw, except for missing answers of a person */
  draft(request: CaptureRequest): Promise<CaptureDraft>;
}

type CapturedReferences = readonly [Reference, ...Reference[]];

export function createCapture(ports: CapturePorts): Capture {
  const inTurn = pLimit(1);
  return {
    capture: (request) => inTurn(() => capture(ports, request)),
    draft: (request) => inTurn(() => draft(ports, request)),
  };
}

async function draft(
  ports: CapturePorts,
  { nodes, name, kind, group: forGroup, staged, only, initrd = false, aggregate, actor }: CaptureRequest,
): Promise<CaptureDraft> {
  const { store, separate } = ports;
  const each = [...new Set(nodes)];
  // By the rules of today, for the group that it is to have by a policy of tomorrow.
  const own = oneGroupOf(each, ports);
  const group = { ...own, name: forGroup ?? own.name };
  const answers: CapturedAnswer[] = [];
  for (const node of each) answers.push(await vouchedFor(node, kind, ports));
  const at = ports.now();
  const state = staged || separate ? 'staged' : 'active';
  const about = { name, state, by: actor, at, only, initrd, aggregate } as const;
  const [first, ...others] = await inSteps(captureReferencesInSteps(kind, answers, group, about));
  if (first === undefined) throw new Error('a capture names no node');
  const made = [first, ...others] as const;
  await checkNames(made, store);
  // Attack: a node of a group that asks for less, or that is compared with nothing, becomes the model of another group.
  const isForeign = group.name !== own.name;
  const inForce = isForeign ? await store.list() : [];
  const against: AgainstNode[] = [];
  for (const answer of answers) {
    const there = isForeign ? await inSteps(standingInSteps(kind, answer, group, inForce, at)) : [];
    against.push(...againstNode(answer, there, { kind, initrd }));
  }
  return {
    references: made,
    against,
    digest: kind === 'runtime' ? '' : digestOf(made),
  };
}

interface CapturedAnswer extends VouchedAnswer {
  readonly memory: NonNullable<VouchedAnswer['memory']>;
  /** On this very answer. */
  readonly verdict: Verdict | null;
}

/** @param there what would stand against it in the group that it is captured for, where that is another one */
function againstNode(
  { node, verdict, memory }: CapturedAnswer,
  there: readonly Reason[],
  of: Pick<CaptureRequest, 'kind' | 'initrd'>,
): readonly AgainstNode[] {
  const reasons = [...standingAgainst(verdict?.reasons ?? []), ...there];
  if (verdict === null || reasons.length === 0) return [];
  return [{ node, state: verdict.state, reasons, news: newOfKind(memory, of) }];
}

function digestOf(references: CapturedReferences): string {
  const shown = references.map(({ captured, ...rest }) => ({ ...rest, captured: captured?.node }));
  return hash('sha256', JSON.stringify(shown));
}

async function capture(ports: CapturePorts, request: CaptureRequest): Promise<CapturedReferences> {
  const { nodes, kind, group: forGroup, only, initrd = false, aggregate, reason, actor } = request;
  const drafted = await draft(ports, request);
  checkConsent(drafted, request);
  const { references: made, against } = drafted;
  await ports.store.addAll(
    made.map((reference) => ({
      reference,
      audit: {
        at: ports.now(),
        actor,
        action: 'reference.capture',
        subject: reference.name,
        code: null,
        detail: {
          kind,
          node: reference.captured?.node ?? null,
          nodes: [...new Set(nodes)].join(' '),
          state: reference.state,
          // Else nobody sees that what one group runs is good for another one since.
          ...(forGroup !== null && { group: forGroup }),
          ...(initrd && { of: 'initrd' }),
          ...(!aggregate && { aggregate: false }),
          ...(only !== null && { only: brief(only.join(' ')) }),
          ...(reason !== null && { reason }),
          ...(against.length > 0 && {
            against: brief(against.map(({ node, reasons }) => `${node}: ${codesOf(reasons)}`).join('; ')),
            new: brief(newsOf(against)),
          }),
        },
      },
    })),
  );
  await ports.changed();
  return made;
}

/**
 * Attack: somebody types what a command printed, and vouches for the boot that the command warned of. And: the node shows
 * one change while a person looks, and another one when it is captured.
 */
function checkConsent(
  { references: [first], against, digest }: CaptureDraft,
  { reason, shown }: CaptureRequest,
): void {
  if (shown !== null && shown !== digest)
    throw new NotNow(
      'what would be captured is not what was shown, since a node shows something else by now: look at it again',
    );
  const [one] = against;
  if (one === undefined || reason !== null || first.state !== 'active') return;
  throw new NotNow(
    `more than no_reference stands against ${brief(against.map(({ node, reasons }) => `${node} (${codesOf(reasons)})`).join(', '))}: a capture says that it is good, for ${one.node} and for others. Look at it (assay why ${one.node}), and give a reason; or capture it staged, and approve that`,
  );
}

function codesOf(reasons: readonly Reason[]): string {
  return [...new Set(reasons.map(({ code }) => code))].join(', ');
}

/** For the audit log: each thing once, whichever node shows it. */
function newsOf(against: readonly AgainstNode[]): string {
  const lines = against.flatMap(({ news }) =>
    news.map(({ what, name, digest }) => `${what} ${name}${digest === null ? '' : ` ${digest}`}`),
  );
  return [...new Set(lines)].join('; ');
}

/** A node compared by other rules is also captured by them. */
function oneGroupOf(nodes: readonly string[], { groupOf }: CapturePorts): PolicyGroup {
  const groups = new Map(nodes.map((node) => [groupOf(node).name, node]));
  const [first] = nodes;
  if (first === undefined || groups.size > 1)
    throw new CaptureError(
      `these nodes are of several groups (${[...groups].map(([group, node]) => `${node}: ${group}`).join(', ')}): capture each group under a name of its own`,
    );
  return groupOf(first);
}

/** The verdict says what stands against a node: what is proven again is the evidence of that very verdict. */
async function vouchedFor(node: string, kind: ReferenceKind, ports: CapturePorts): Promise<CapturedAnswer> {
  const { verdict = null, verifiedAt = null, evidenceDigest = null, memory = {} } = ports.status(node) ?? {};
  if (verifiedAt === null || evidenceDigest === null || ports.now() > verifiedAt + ports.unknownAfter)
    throw new Rejection('evidence_overdue', `${node} has no recent proof: wait for its next answer`);
  const doubt = verdict?.reasons.find(
    ({ code }) => notOfThisBoot.has(code) || noModelOf(kind).includes(code),
  );
  if (doubt !== undefined)
    throw new Rejection(doubt.code, `${node} cannot be a model for others: ${doubt.text}`);
  const proof = await ports.prove(node, evidenceDigest);
  if (proof.proven === null) throw new CaptureError(`${node} cannot be captured: ${proof.note}`);
  return { node, proven: proof.proven, memory, verdict };
}

/** With these, what runs is not what the log tells, or it is another machine: nothing to compare others with. */
const notOfThisBoot: ReadonlySet<ReasonCode> = new Set([
  'boot_remeasured',
  'kexec_detected',
  'boot_correlation',
  'clock_rewind',
  'counter_rollback',
  'clone_suspected',
]);

async function checkNames(made: readonly Reference[], store: CapturePorts['store']): Promise<void> {
  const taken = new Set((await store.list()).map(({ name }) => name));
  for (const { name } of made) {
    if (taken.has(name)) throw new NotNow(`a reference named ${name} already exists`);
    if (!plainName.safeParse(name).success)
      throw new NotNow(
        `these nodes take ${made.length} references, and ${name} is too long: choose a shorter name`,
      );
  }
}
