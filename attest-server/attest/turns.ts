import { hash } from 'node:crypto';
import { inSteps } from '../formats/in-steps.ts';
import { type OurChange, turnedIn } from '../formats/our-change.ts';
import { policyLabel } from '../formats/policy-label.ts';
import type { Reference } from '../formats/reference.ts';
import type { EarlierRules } from '../in-force/earlier-rules.ts';
import type { InForce } from '../in-force/in-force.ts';
import type { AppraisedNode, Appraiser, NodePast } from '../policy/appraise.ts';
import { asksInitrds, aspects } from '../policy/aspects.ts';
import { withoutUnknown } from '../policy/kept-unknown.ts';
import type { Proven } from '../verify/proven.ts';
import type { HostFacts } from '../wire/facts.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Verdict } from '../wire/verdict.ts';
import type { JudgingTime } from './judging-time.ts';
import type { NodeStatus } from './ports.ts';
import type { TrustedBy, Turned } from './trusted-by.ts';

export interface TurnsParts {
  readonly earlier: Pick<EarlierRules, 'known' | 'read' | 'pathsOf'>;
  /** Of this server. */
  readonly version: string;
  /** The node's labels in its cluster. */
  readonly labelsOf: (node: string) => Readonly<Record<string, string>>;
}

/** An answer that was just judged by the rules in force. */
export interface TurningAnswer {
  readonly verdict: Verdict;
  readonly proven: Proven;
  /** Charges the time of judging to the node, however often it is judged. */
  readonly judging: Pick<JudgingTime, 'charged' | 'chargedSteps'>;
  readonly previous: NodeStatus | null;
  readonly inForce: InForce;
  /** As it was judged, with all its labels. */
  readonly node: AppraisedNode & { readonly past: NodePast };
  /** Digests of what it shows now. */
  readonly parts: NodeStatus['parts'];
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Earlier policies that are read at a start; nearly always one at most. */
const mostPrimed = 2;

/** A verdict that a change of ours turned, as people see it. */
export interface ShownTurn extends Pick<Turned, 'change' | 'at' | 'isSame'> {
  /** `name@revision`, and since when the latter is in force: milliseconds since the epoch. */
  readonly policy: { readonly before: string; readonly now: string; readonly since: number };
  readonly server: { readonly before: string; readonly now: string };
  /** References that are revoked or not in force any more; no state: it was deleted. */
  readonly left: readonly {
    readonly name: string;
    readonly state: Reference['state'] | null;
    readonly step: NonNullable<Reference['changed']> | null;
    /** A signed directory says what it is. */
    readonly isDeclared: boolean;
  }[];
}

/** References that are named. */
const mostNamed = 8;

/** Which rules are meant, of those by which a node was trusted. */
export type TrustedRules = Pick<TrustedBy, 'policy' | 'references'>;

/**
 * Tells a verdict that turned because of us from one that turned because of the node: as long as those in force do not trust it,
 * each answer is judged also by the rules by which it was last trusted.
 *
 * Attack: a node is tampered with, and waits for our next mistake. What the earlier rules find wrong is wrong, and stays so until
 * the node is trusted again.
 */
export class Turns {
  readonly #parts: TurnsParts;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
  }

  /** After a start: what nodes are to be asked for goes by the policies that trusted them, too. */
  async prime(statuses: readonly NodeStatus[], { context }: InForce): Promise<void> {
    const policies = new Set<string>([context.policy]);
    for (const { name, trustedBy } of statuses) {
      if (trustedBy === null || policies.has(trustedBy.policy)) continue;
      if (policies.size > mostPrimed) return;
      policies.add(trustedBy.policy);
      await this.#parts.earlier.read(trustedBy, name);
    }
  }

  /** The same as `next` if nothing has to be read for it, as with most answers; otherwise null. */
  atOnce({ verdict, ...judged }: TurningAnswer): TrustedBy | null {
    const before = judged.previous?.trustedBy ?? null;
    return verdict.state === 'trusted' && verdict.trial !== true
      ? this.#trusted({ verdict, ...judged }, before)
      : null;
  }

  /** By what the node counts as last trusted once this answer is judged; null: it never was, or nothing of it waits any more. */
  async next(judged: TurningAnswer): Promise<TrustedBy | null> {
    const { verdict, previous } = judged;
    const before = previous?.trustedBy ?? null;
    // What a server on trial says is worth nothing, before and after.
    if (verdict.trial === true) return before;
    if (verdict.state === 'trusted') return this.#trusted(judged, before);
    if (before === null) return null;
    const isSame = isSameContext(before, judged.inForce.context);
    if (isSame && before.version === this.#parts.version) return ownDoing(before, verdict);
    return this.#turned(judged, before, isSame);
  }

  /** Joins the earlier rules to the active ones if a taint waits: they follow the same list, and look at the same images. */
  appraiserOf(previous: NodeStatus | null, inForce: InForce): Pick<Appraiser, 'ahead' | 'judgedTo'> {
    const before = previous?.trustedBy ?? null;
    const earlier = turnedIn(before) === null || before === null ? null : this.#parts.earlier.known(before);
    if (earlier === null) return inForce.appraise;
    return {
      *ahead(proven, node, at) {
        yield* inForce.appraise.ahead(proven, node, at);
        yield* earlier.appraise.ahead(proven, node, at);
      },
      judgedTo(node) {
        const to = inForce.appraise.judgedTo(node);
        return to === earlier.appraise.judgedTo(node) ? to : null;
      },
    };
  }

  /** Whether the rules in force, or those by which it was trusted, ask what its initrds hold. */
  askInitrds(name: string, previous: NodeStatus | null, inForce: InForce): boolean {
    const labels = this.#parts.labelsOf(name);
    const isAsked = (rules: InForce | null) =>
      rules !== null && asksInitrds(rules.groupOf(name, labels).group.rules);
    if (isAsked(inForce)) return true;
    const before = previous?.trustedBy ?? null;
    return (
      before !== null && !isSameContext(before, inForce.context) && isAsked(this.#parts.earlier.known(before))
    );
  }

  /** Paths of the node that it is asked about: of the policy in force, and of another one by which it was trusted. */
  pathsOf(name: string, previous: NodeStatus | null, inForce: InForce): readonly string[] {
    const labels = this.#parts.labelsOf(name);
    const asked = inForce.pathsOf(inForce.groupOf(name, labels).group);
    const before = previous?.trustedBy ?? null;
    if (before === null || before.policy === inForce.context.policy) return asked;
    return [...new Set([...asked, ...this.#parts.earlier.pathsOf(before, name, labels)])];
  }

  /** Change of ours that turned the verdict of a node, for people; null if none did. */
  shown(status: NodeStatus | null, inForce: InForce): ShownTurn | null {
    const { policy, references, since } = inForce;
    const by = status?.trustedBy ?? null;
    const turned = turnedIn(by);
    if (by === null || turned === null) return null;
    return {
      ...turned,
      policy: {
        before: by.named,
        now: policyLabel(policy),
        since: Math.min(since, turned.at),
      },
      server: { before: by.version, now: this.#parts.version },
      left: turned.left.map((name) => {
        const { state = null, changed: step = null } = references.get(name) ?? {};
        return { name, state, step, isDeclared: inForce.isDeclared(name) };
      }),
    };
  }

  #trusted({ verdict, proven, inForce }: TurningAnswer, before: TrustedBy | null): TrustedBy {
    const { version } = this.#parts;
    const { policy, references } = inForce.context;
    const { measuredDigest: measured } = proven;
    const host = hostDigest(proven);
    const affirmedBy = affirming(verdict);
    const isSame =
      before !== null &&
      before.turned === null &&
      isSameContext(before, inForce.context) &&
      before.version === version &&
      before.group === verdict.group &&
      before.measured === measured &&
      before.host === host &&
      before.affirmedBy.length === affirmedBy.length &&
      before.affirmedBy.every((name, index) => name === affirmedBy[index]);
    if (isSame) return before;
    const { policy: named, group } = verdict;
    return { policy, references, named, group, version, measured, host, affirmedBy, turned: null };
  }

  async #turned(judged: TurningAnswer, before: TrustedBy, isSameRules: boolean): Promise<TrustedBy | null> {
    const { verdict, proven, judging, previous, inForce, node, at } = judged;
    const shown = before.turned === null ? shownIn(previous) : before.turned.shown;
    const isSame = isAsItWas(judged, before, shown);
    const turned: Omit<Turned, 'as'> = {
      ...whatChanged(before, inForce, null, this.#parts.version),
      at,
      isSame,
      shown,
      memory: before.turned?.memory ?? withoutUnknown(previous?.memory ?? {}),
    };
    // Nobody can ask the earlier server: its inputs must be unchanged.
    const isOfServer = before.version !== this.#parts.version && isSame;
    const asServer = () => (isOfServer ? { ...before, turned: { ...turned, as: 'trusted' as const } } : null);
    if (isSameRules) return asServer() ?? ownDoing(before, verdict);
    const earlier = await this.#parts.earlier.read(before, node.name);
    if (earlier === null) return asServer();
    const { labels, group } = earlier.groupOf(node.name, node.labels ?? {});
    // Attack: its kubelet gives it a label of a group that asked for less under the earlier rules.
    if (group.name !== before.group) return asServer();
    const asBefore = { ...node, labels, past: { ...node.past, memory: turned.memory } };
    await inSteps(judging.chargedSteps(earlier.appraise.ahead(proven, asBefore, at)));
    const { verdict: byBefore, next } = judging.charged(() => earlier.appraise(proven, asBefore, at));
    const isWrong = byBefore.state === 'untrusted' || restsOnBad(judged, byBefore, before);
    if (isWrong) return asServer();
    const as = byBefore.state === 'trusted' ? 'trusted' : 'pending';
    const change = whatChanged(before, inForce, earlier, this.#parts.version);
    const since = before.turned?.by === change.by ? before.turned.at : at;
    const memory = withoutUnknown(next.memory);
    return { ...before, turned: { ...turned, ...change, at: since, as, memory } };
  }
}

/** The rules that trusted it find it wrong: a reload that follows hides nothing of it. */
function ownDoing(before: TrustedBy, { state }: Verdict): TrustedBy | null {
  if (state !== 'pending') return null;
  return before.turned === null ? before : { ...before, turned: null };
}

function isSameContext(one: TrustedRules, other: TrustedRules): boolean {
  return one.policy === other.policy && one.references === other.references;
}

/** @param earlier null: which references left is not known */
function whatChanged(
  before: TrustedBy,
  inForce: InForce,
  earlier: InForce | null,
  version: string,
): Pick<Turned, 'change' | 'by' | 'left'> {
  const { policy, context } = inForce;
  const left = earlier === null ? nothing : inForce.without(earlier);
  const said = (change: OurChange, by: string) => ({ change, by, left: left.slice(0, mostNamed) });
  if (before.policy !== context.policy) return said('policy', `policy ${policyLabel(policy)}`);
  if (before.references === context.references) return said('server', `server ${version}`);
  return said('references', leftAs(left, context.references));
}

/** Names the references concerned: a release for some references does not cover others. */
function leftAs(left: readonly string[], inForce: string): string {
  const others = left.length - mostNamed;
  const names = left.toSorted().slice(0, mostNamed).join(', ');
  if (left.length === 0) return `references ${inForce.slice(0, 12)}`;
  if (others > 0) return `references ${names} and ${others} more`;
  return left.length === 1 ? `reference ${names}` : `references ${names}`;
}

/**
 * Attack: while its taint waits, a node goes over to what was revoked meanwhile. Only what rested on a reference when it was
 * revoked waits, and nothing does where whoever revoked it asked for the taints.
 */
function restsOnBad(
  { verdict, inForce }: TurningAnswer,
  byBefore: Verdict,
  { affirmedBy }: TrustedBy,
): boolean {
  const revocation = (name: string) => {
    const found = inForce.references.get(name);
    return found?.state === 'revoked' ? (found.changed ?? {}) : null;
  };
  const isBad = (name: string) => {
    const revoked = revocation(name);
    return revoked !== null && ('taint' in revoked || !affirmedBy.includes(name));
  };
  const isTainting = ({ code, reference = '' }: Verdict['reasons'][number]) =>
    code === 'revoked_reference' && 'taint' in (revocation(reference) ?? {});
  return affirming(byBefore).some(isBad) || verdict.reasons.some(isTainting);
}

function affirming({ aspects: results }: Verdict): readonly string[] {
  const names = new Set<string>();
  for (const aspect of aspects)
    for (const name of results[aspect.name]?.references ?? nothing) names.add(name);
  return [...names];
}

/** Of an answer by which the node was trusted; null if the latest one is no such. */
function shownIn(previous: NodeStatus | null): Turned['shown'] {
  if (previous === null) return null;
  const { state, trustedAt, verifiedAt, parts, resetCount, restartCount, bootId } = previous;
  if (state !== 'trusted' && trustedAt !== verifiedAt) return null;
  return { parts, resetCount, restartCount, bootId };
}

/** Of these it is known what they are judged from; IMA's list and what a host says of itself change all the time. */
const compared = aspects.filter(({ name }) => name === 'boot' || name === 'disk' || name === 'firewall');
/** Reasons that follow from more than evidence. */
const ofTime: ReadonlySet<ReasonCode> = new Set(['rebooted', 'resumed', 'kexec_detected']);

/** Whether all that failing aspects are judged from is what it was when the node was last trusted. */
function isAsItWas(
  { verdict, proven, parts }: TurningAnswer,
  { measured, host }: TrustedBy,
  shown: Turned['shown'],
): boolean {
  if (shown === null) return false;
  const { clock, facts, measuredDigest } = proven;
  const isSameBoot =
    shown.resetCount === clock.resetCount &&
    shown.restartCount === clock.restartCount &&
    shown.bootId === (facts?.bootId ?? null);
  if (!isSameBoot || (measured !== null && measured !== measuredDigest)) return false;
  if (host !== null && host !== hostDigest(proven)) return false;
  const now = partsIn(proven, parts);
  const against = verdict.reasons.filter(({ severity }) => severity === 'fail');
  return against.every((reason) => {
    const { aspect: name, source, code } = reason;
    const aspect = compared.find((one) => one.name === name);
    if (aspect === undefined || source === 'server' || ofTime.has(code)) return false;
    // An earlier server did not say which PCRs it saw: then the log must lead to them.
    if (measured === null && reason.class === 'failed') return false;
    return [...aspect.parts, ...(name === 'boot' ? bootFiles : [])].every(
      (part) => part === 'ima' || shown.parts[part] === now[part],
    );
  });
}

/** Of the answer itself: a part that a node leaves out stays in its status. */
function partsIn({ boot, parts, listed }: Proven, shown: NodeStatus['parts']): NodeStatus['parts'] {
  const digests = {
    boot: boot?.digest,
    userSpace: boot?.userSpaceDigest ?? undefined,
    loaderFiles: listed.loaderFiles.digest ?? undefined,
    // The server lists these.
    initrds: shown.initrds,
    disk: parts.disk?.digest,
    firewall: parts.firewall?.digest,
  };
  return Object.fromEntries(Object.entries(digests).filter(([, digest]) => digest !== undefined));
}

const bootFiles = ['loaderFiles', 'initrds'] as const;

/** Digest of the host's own facts about its boot, which are not a part. */
function hostDigest({ facts }: Proven): string | null {
  const host = facts?.host;
  if (host === undefined) return null;
  const known = hostDigests.get(host);
  if (known !== undefined) return known;
  const { kernel, arch, commandLine, kexecLoadDisabled, lockdown, systemUuid } = host;
  const said = [kernel, arch, commandLine, kexecLoadDisabled, lockdown, systemUuid];
  const digest = hash('sha256', JSON.stringify(said), 'hex');
  hostDigests.set(host, digest);
  return digest;
}

/** Of what answers say again: while its text is the same, it is the same object. */
const hostDigests = new WeakMap<HostFacts, string>();

const nothing: readonly string[] = [];
