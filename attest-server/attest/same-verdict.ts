import { isDeepStrictEqual } from 'node:util';
import { type AspectResult, aspects, type Verdict } from '../wire/verdict.ts';
import type { NodeStatus } from './ports.ts';

/**
 * Whether an answer says nothing new: the verdict is the one before, on the same boot. Texts for people and positions in
 * the evidence do not count, nor what moves with every answer.
 */
export function saysTheSame(before: NodeStatus, now: NodeStatus): boolean {
  return (
    before.verdict !== null &&
    now.verdict !== null &&
    before.state === now.state &&
    before.resetCount === now.resetCount &&
    before.restartCount === now.restartCount &&
    before.bootId === now.bootId &&
    before.parts.boot === now.parts.boot &&
    before.trustedBy?.turned?.as === now.trustedBy?.turned?.as &&
    isSameVerdict(before.verdict, now.verdict)
  );
}

function isSameVerdict(a: Verdict, b: Verdict): boolean {
  if (a === b) return true;
  return (
    a.state === b.state &&
    a.policy === b.policy &&
    a.group === b.group &&
    a.mode === b.mode &&
    a.trial === b.trial &&
    isSameList(a.require, b.require, (one, other) => one === other) &&
    isSameList(a.reasons, b.reasons, isSameReason) &&
    hasSameAspects(a.aspects, b.aspects)
  );
}

function isSameReason(a: Verdict['reasons'][number], b: Verdict['reasons'][number]): boolean {
  if (a.code !== b.code || a.severity !== b.severity || a.expected !== b.expected) return false;
  if (a.signed !== b.signed) return false;
  // A way on that was not there before, or is no more.
  if (a.outOfForce !== b.outOfForce) return false;
  // Here it is a text of the node's own: one that is new each time would be a row each time.
  return a.code === 'facts_unavailable' || a.code === 'fw_unreadable' || a.actual === b.actual;
}

/** The verdict that is kept, with what is said now of what could not be read: such as a place among those that wait. */
export function withTextsOf(now: Verdict | null, kept: Verdict): Verdict {
  if (now === null || now === kept) return kept;
  // Where no text is another one, the verdict that the appraiser holds is held once, and compared at a glance from then on.
  if (isDeepStrictEqual(kept.reasons, now.reasons)) return now;
  let isOther = false;
  const reasons = kept.reasons.map((reason, index) => {
    const { code, text, actual } = now.reasons[index] ?? reason;
    if (reason.code !== 'facts_unavailable' || code !== reason.code || text === reason.text) return reason;
    isOther = true;
    return { ...reason, text, actual };
  });
  return isOther ? { ...kept, reasons } : kept;
}

function hasSameAspects(a: Verdict['aspects'], b: Verdict['aspects']): boolean {
  if (Object.keys(a).length !== Object.keys(b).length) return false;
  for (const name of aspects) {
    const [one, other] = [a[name], b[name]];
    if (one === other) continue;
    if (one === undefined || other === undefined) return false;
    if (one.status !== other.status || one.source !== other.source || !areAffirmedAlike(one, other))
      return false;
  }
  return true;
}

/** Another reference that vouches for the same boot is news: the earlier one may no longer be active. */
function areAffirmedAlike(a: AspectResult, b: AspectResult): boolean {
  return isSameList(a.references ?? [], b.references ?? [], (one, other) => one === other);
}

function isSameList<T>(a: readonly T[], b: readonly T[], isSame: (one: T, other: T) => boolean): boolean {
  return (
    a.length === b.length &&
    a.every((one, index) => {
      const other = b[index];
      return other !== undefined && isSame(one, other);
    })
  );
}
