import type { z } from 'zod';
import type { Reference, ReferenceKind } from '../formats/reference.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { Proven } from '../verify/proven.ts';
import type { Advice } from '../wire/advice.ts';
import type { PartName } from '../wire/evidence.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { AspectName, Source } from '../wire/verdict.ts';
import type { CapJudgement } from './cap.ts';
import type { LocatedFault } from './file/policy-error.ts';
import type { Finding } from './finding.ts';
import type { GroupBase } from './group.ts';
import type { SequenceJudgement } from './sequence.ts';
import type { UnknownThings } from './unknown.ts';

/**
 * One thing that a node proves or says, and all that a policy does with it. Everything else (the grammar of the policy
 * file, its JSON schema, `require`, verdicts, advice) follows from the list in aspects.ts.
 */
export interface Aspect<Name extends AspectName, Rules> {
  readonly name: Name;
  /** The grammar of its key in a policy file, with descriptions; null if the file has no such key. */
  readonly schema: z.ZodType | null;
  /** The parts of evidence that it reads: agents are asked for these. */
  readonly parts: readonly PartName[];
  /** It goes by what the node says of its machine and kernel (`host` of the facts), too. */
  readonly readsHost: boolean;
  /** The kind of references that it is compared with; null if it goes by rules alone. */
  readonly referenceKind: ReferenceKind | null;
  /** Kinds of references that it goes by besides. */
  readonly alsoReads?: readonly ReferenceKind[];
  /** It needs machines that were prepared for it: `strict` does not require it of all. */
  readonly isOptIn?: true;
  /** Paths of the node that the rules speak of, which an agent is asked about; without it, none. */
  paths?(rules: Rules): readonly string[];
  /**
   * A reference of `referenceKind` made of what a node proved; without it, or the next one, none can be captured.
   * @throws CaptureError if this is no model for others
   */
  capture?(proven: Proven, about: CaptureLabel): Reference;
  /** The same in steps of some milliseconds, where that is long. */
  captureInSteps?(proven: Proven, about: CaptureLabel): Generator<void, Reference>;
  /** Codes with which a node is a model for no other of such a reference. */
  readonly noModel?: readonly ReasonCode[];
  /** The content of such a reference, as lines of text for people; a diff of two references compares these. */
  describe?(reference: Reference): readonly string[];
  /** A small JSON value that shows the node's aspect, to draft rules by; null if it shows nothing. Without it none are drafted. */
  observe?(proven: Proven): Readonly<Record<string, unknown>> | null;
  /** Rules for nodes of one kind, at least one, by what they showed; null if that is nothing. */
  draft?(nodes: readonly ObservedNode[]): DraftedRules | null;
  /** Which references the rules name, for an aspect of a kind of them; null: they go by those of the group. */
  named?(rules: Rules): readonly string[] | null;
  /** The rules as a policy file says them, defaults filled in, for the API; without it they are JSON as they are. */
  show?(rules: Rules): Readonly<Record<string, unknown>>;
  /** @param given what the file says under the key, as `schema` takes it; undefined if it says nothing */
  rules(given: unknown): Rules;
  /** Contradictions in what a file says under the key, whether or not it fits the schema. Paths begin below the key. */
  contradictions(given: unknown): LocatedFault[];
  /** Rules that are allowed and may not be what was meant. Paths begin at the group. */
  doubts(rules: Rules, group: GroupBase): LocatedFault[];
  /** Makes rules and references ready, so that judging one node is a comparison. */
  prepare(rules: Rules, context: PreparedAspect): Judge;
  /** The next step for a person on each of its codes. */
  readonly advice: Readonly<Partial<Record<ReasonCode, Advice>>>;
  /** A step with finished commands that take back on the node what a reason found; null if there are none. */
  undo?(reason: Pick<Finding, 'code' | 'detail'>): Advice | null;
  /** Where one code needs several pieces of advice: by what the finding expects, before that by its code. */
  readonly adviceByExpected?: ReadonlyMap<string, Advice>;
}

/** An aspect of a node when rules are drafted. */
export interface ObservedNode {
  readonly node: string;
  /** As its `observe` gave it, or another version's; null if the node showed nothing. */
  readonly said: unknown;
  /** Active references of the aspect's kind that affirm the node. */
  readonly references: readonly string[];
}

/** Rules for a draft of a policy. */
export interface DraftedRules {
  /** The value of the aspect's key. */
  readonly rules: Readonly<Record<string, unknown>>;
  /** Every node keeps them today; else they stand in a comment, and nothing requires them. */
  readonly holds: boolean;
  /** For people, a line each; whatever they hold, they end up in comments. */
  readonly notes: readonly string[];
}

/** The name of a captured reference, and who vouches for it. */
export interface CaptureLabel {
  readonly name: string;
  readonly state: 'staged' | 'active';
  readonly group: GroupBase;
  readonly node: string;
  readonly by: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface PreparedAspect {
  readonly group: GroupBase;
  /** References of the aspect's kinds, in every state. */
  readonly references: readonly Reference[];
  /** Whether judgements are remembered, by exactly what each is made from. */
  readonly remembers: boolean;
}

/** Judges one aspect of one node after the other, by one group's rules. What it remembers of judgements is its own. */
export interface Judge {
  /** @param at milliseconds since the epoch; references expire by it */
  judge(proven: Proven, node: JudgedNode, at: number): AspectJudgement;
  /** The slow part of judging this, in steps of some milliseconds: `judge` is quick afterwards. Only for aspects with long inputs. */
  ahead?(proven: Proven, node: JudgedNode, at: number): Iterable<void>;
  /**
   * Up to where IMA's list of this node was judged: a `head` of `ProvenImaList`. Null: its next answer must show the list from
   * its start.
   */
  judgedTo?(node: string): string | null;
}

export interface AspectJudgement {
  /** Things that are wrong or worth knowing, the cause first. */
  readonly findings: readonly Finding[];
  /** Everything that the aspect needs is there and as it should be, whatever the findings weigh. */
  readonly affirmed: boolean;
  /** Names of the references that affirm it, where some do. */
  readonly references?: readonly string[];
  /** The part of it that no reference in force has; absent if there is none, or it is not known. */
  readonly unknown?: UnknownThings;
  /** Who vouches for what it was judged by. */
  readonly source: Source;
  /**
   * Findings that stood against the node and that this reading would have made again, were it still so. Default: all if it is
   * affirmed, else none.
   */
  readonly takesBack?: ClearedFindings;
  /** To be remembered of this node until its next answer, as JSON; undefined: what is remembered stays. */
  readonly next?: unknown;
  /** Marks of the keys of leased volumes that are open; undefined: it does not tell. */
  readonly openKeys?: readonly string[];
  /** Parts that prove no more until the TPM or the kernel restarts: on this connection they are not asked for again. */
  readonly enough?: readonly PartName[];
  /** Parts that it must see in each answer, whatever another aspect calls enough. */
  readonly wants?: readonly PartName[];
}

/**
 * All findings but those with one of these codes, or for which one of these vouched, and those with the codes in `also`; or
 * those with these codes alone.
 */
export type ClearedFindings =
  | { readonly allBut: readonly (ReasonCode | Source)[]; readonly also?: readonly ReasonCode[] }
  | { readonly only: readonly ReasonCode[] };

/** The node that evidence is from, and what is remembered of it. */
export interface JudgedNode {
  readonly name: string;
  readonly tpmClass: TpmClass;
  readonly past: Past;
  /** Where TPM and kernel are in time, beside where they were. */
  readonly sequence: SequenceJudgement;
  /** Whether it has given up its right to disk keys. */
  readonly cap: CapJudgement;
  /** Other nodes that are enrolled with its TPM. */
  readonly twins: readonly string[];
  /** SMBIOS, as its Node in the cluster says it; null if there is none. */
  readonly clusterUuid: string | null;
  /** Other nodes that show its system UUID. */
  readonly sameUuid: readonly string[];
  /** Volumes that it shows and other nodes show, too. */
  readonly sharedVolumes: readonly SharedVolume[];
  /** Parts that are missing although the machine has them: this is found once for all aspects. */
  readonly unread: readonly UnreadPart[];
}

/** A mark of a volume (policy/disk/memory.ts), and the other nodes that show it. */
export interface SharedVolume {
  readonly mark: string;
  readonly nodes: readonly string[];
}

/** A part that a collector of the node did not give, and why, by the node's word. */
export interface UnreadPart {
  readonly name: PartName | 'host';
  readonly cause: string;
}

/** The state of a node before this answer. */
export interface Past {
  /** Parts that it sent before, except those that it says it could not read: omitting one hides something. */
  readonly sentParts: readonly PartName[];
  /**
   * Why it is not known here what its initrds hold, for a person: its place among those that wait to send one, or why it
   * sends none. Absent: nothing is said.
   */
  readonly initrdWait?: string;
  /** The memory of each aspect, by its name, and beside them what stands against the node (against.ts) and is unknown (unknown.ts). */
  readonly memory: Readonly<Record<string, unknown>>;
}
