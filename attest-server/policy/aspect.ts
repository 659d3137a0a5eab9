import type { z } from 'zod';
import type { Reference, ReferenceKind } from '../formats/reference.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { Proven } from '../verify/proven.ts';
import type { Advice } from '../wire/advice.ts';
import type { PartName } from '../wire/evidence.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Aspect as AspectName, Source } from '../wire/verdict.ts';
import type { Located } from './file/policy-error.ts';
import type { Finding } from './finding.ts';
import type { GroupBase } from './group.ts';
import type { SequenceJudgement } from './sequence.ts';
import type { Unknown } from './unknown.ts';

/**
 * One thing that a node proves or says, and all that a policy does with it. Everything else (the grammar of the policy
 * file, its JSON schema, `require`, verdicts, advice) follows from the list in aspects.ts.
 */
export interface Aspect<Name extends AspectName, Rules> {
  readonly name: Name;
  /** What its key in a policy file may say, with descriptions; null where the file has no such key. */
  readonly schema: z.ZodType | null;
  /** The parts of evidence that it reads: agents are asked for these. */
  readonly parts: readonly PartName[];
  /** It goes by what the node says of its machine and kernel (`host` of the facts), too. */
  readonly readsHost: boolean;
  /** The kind of references that it is compared with; null where it goes by rules alone. */
  readonly referenceKind: ReferenceKind | null;
  /** Kinds of references that it goes by besides. */
  readonly alsoReads?: readonly ReferenceKind[];
  /** It needs machines that were made ready for it: `strict` does not require it of all. */
  readonly isOptIn?: true;
  /** Paths of the node that the rules speak of, which an agent is asked about; without it, none. */
  paths?(rules: Rules): readonly string[];
  /**
   * A reference of `referenceKind` made of what a node proved; without it, or the next one, none can be captured.
   * @throws CaptureError where this is no model for others
   */
  capture?(proven: Proven, about: CapturedAs): Reference;
  /** The same in steps of some milliseconds, where that is long. */
  captureInSteps?(proven: Proven, about: CapturedAs): Generator<void, Reference>;
  /** Codes with which a node is a model for no other of such a reference. */
  readonly noModel?: readonly ReasonCode[];
  /** What such a reference says, as lines of text for people; two references are told apart by these. */
  describe?(reference: Reference): readonly string[];
  /** What a node shows of it, small, as JSON, to draft rules by; null where it shows nothing. Without it none are drafted. */
  observe?(proven: Proven): Readonly<Record<string, unknown>> | null;
  /** Rules for nodes of one kind, at least one, by what they showed; null where that is nothing. */
  draft?(nodes: readonly ObservedNode[]): Drafted | null;
  /** Which references the rules name, for an aspect of a kind of them; null: they go by those of the group. */
  named?(rules: Rules): readonly string[] | null;
  /** The rules as a policy file says them, defaults filled in, for the API; without it they are JSON as they are. */
  show?(rules: Rules): Readonly<Record<string, unknown>>;
  /** @param given what the file says under the key, as `schema` takes it; undefined where it says nothing */
  rules(given: unknown): Rules;
  /** Contradictions in what a file says under the key, whether or not it fits the schema. Paths begin below the key. */
  contradictions(given: unknown): Located[];
  /** What is allowed and may not be what was meant. Paths begin at the group. */
  doubts(rules: Rules, group: GroupBase): Located[];
  /** Makes rules and references ready, so that judging one node is a comparison. */
  prepare(rules: Rules, context: Prepared): Judge;
  /** What a person does next about its codes. */
  readonly advice: Readonly<Partial<Record<ReasonCode, Advice>>>;
  /** Where one code needs several pieces of advice: by what the finding expects, before that by its code. */
  readonly adviceByExpected?: ReadonlyMap<string, Advice>;
}

/** What a node showed of an aspect when rules are drafted. */
export interface ObservedNode {
  readonly node: string;
  /** As its `observe` gave it, or another version's; null where the node showed nothing. */
  readonly said: unknown;
  /** Active references of the aspect's kind that affirm the node. */
  readonly references: readonly string[];
}

/** Rules for a draft of a policy. */
export interface Drafted {
  /** What stands under the aspect's key. */
  readonly rules: Readonly<Record<string, unknown>>;
  /** Every node keeps them today; else they stand in a comment, and nothing requires them. */
  readonly holds: boolean;
  /** For people, a line each; whatever they hold, they end up in comments. */
  readonly notes: readonly string[];
}

/** What a captured reference is called, and who vouches for it. */
export interface CapturedAs {
  readonly name: string;
  readonly state: 'staged' | 'active';
  readonly group: GroupBase;
  readonly node: string;
  readonly by: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface Prepared {
  readonly group: GroupBase;
  /** Of the aspect's kinds, in every state. */
  readonly references: readonly Reference[];
  /** Whether judgements are remembered, by exactly what each is made from. */
  readonly remembers: boolean;
}

/** Judges one aspect of one node after the other, by one group's rules. What it remembers of judgements is its own. */
export interface Judge {
  /** @param at milliseconds since the epoch; references expire by it */
  judge(proven: Proven, node: JudgedNode, at: number): Judgement;
  /**
   * What takes long of judging this, in steps of some milliseconds: `judge` is quick afterwards. Only where what a judgement is
   * made from may be long.
   */
  ahead?(proven: Proven, node: JudgedNode, at: number): Iterable<void>;
  /**
   * Up to where IMA's list of this node was judged: a `head` of `ProvenImaList`. Null: its next answer must show the list from
   * its begin.
   */
  judgedTo?(node: string): string | null;
}

export interface Judgement {
  /** What is wrong or worth knowing, the cause first. */
  readonly findings: readonly Finding[];
  /** Everything that the aspect needs is there and as it should be, whatever the findings weigh. */
  readonly affirmed: boolean;
  /** Names of the references that affirm it, where some do. */
  readonly references?: readonly string[];
  /** What no reference in force has of it; absent where that is nothing, or not known. */
  readonly unknown?: Unknown;
  /** Who vouches for what it was judged by. */
  readonly source: Source;
  /**
   * Of what stood against the node, what this reading would have found again, were it still so. Default: all where it is
   * affirmed, else nothing.
   */
  readonly takesBack?: TakenBack;
  /** To be remembered of this node until its next answer, as JSON; undefined: what is remembered stays. */
  readonly next?: unknown;
  /** Parts that prove no more until the TPM or the kernel starts anew: on this connection they are not asked for again. */
  readonly enough?: readonly PartName[];
  /** Parts that it must see in each answer, whatever another aspect calls enough. */
  readonly wants?: readonly PartName[];
}

/** All findings but those with one of these codes, or for which one of these vouched; or those with these codes alone. */
export type TakenBack =
  | { readonly allBut: readonly (ReasonCode | Source)[] }
  | { readonly only: readonly ReasonCode[] };

/** Of whom a piece of evidence is, and what is remembered of it. */
export interface JudgedNode {
  readonly name: string;
  readonly tpmClass: TpmClass;
  readonly past: Past;
  /** Where TPM and kernel are in time, beside where they were. */
  readonly sequence: SequenceJudgement;
  /** Other nodes that are enrolled with its TPM. */
  readonly twins: readonly string[];
  /** SMBIOS, as its Node in the cluster says it; null where there is none. */
  readonly clusterUuid: string | null;
  /** Other nodes that show its system UUID. */
  readonly sameUuid: readonly string[];
  /** Volumes that it shows and other nodes show, too. */
  readonly sharedVolumes: readonly SharedVolume[];
  /** What is missing for another reason than that the machine has none: it is found once for all aspects. */
  readonly unread: readonly Unread[];
}

/** A mark of a volume (policy/disk/memory.ts), and the other nodes that show it. */
export interface SharedVolume {
  readonly mark: string;
  readonly nodes: readonly string[];
}

/** What a collector of the node did not give, and why, by the node's word. */
export interface Unread {
  readonly name: PartName | 'host';
  readonly cause: string;
}

/** What was known of a node before this answer. */
export interface Past {
  /** Parts that it has sent before, but for those that it says it could not read: leaving one out hides something. */
  readonly sentParts: readonly PartName[];
  /**
   * Why it is not known here what its initrds hold, for a person: its place among those that wait to send one, or why it
   * sends none. Absent: nothing is said.
   */
  readonly initrdWait?: string;
  /** What each aspect wanted to be remembered, by its name, and beside them what stands against it (against.ts) and is unknown (unknown.ts). */
  readonly memory: Readonly<Record<string, unknown>>;
}
