import type { Proven } from '../verify/proven.ts';
import { partNames } from '../wire/evidence.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { Aspect as AspectName } from '../wire/verdict.ts';
import type { Aspect, Unread } from './aspect.ts';
import type { Finding } from './finding.ts';

/** A part that is there is judged, whatever is said of it: one that grows is spoken of an answer late. */
export function unreadIn(proven: Proven): readonly Unread[] {
  const said = proven.facts?.unavailable;
  if (said === undefined) return none;
  return readable.flatMap((name) => {
    const cause = Object.hasOwn(said, name) ? said[name] : undefined;
    return cause === undefined || isThere(name, proven) ? [] : [{ name, cause }];
  });
}

/** Of these, what the aspect reads. */
export function unreadBy(
  { parts, readsHost }: Pick<Aspect<AspectName, unknown>, 'parts' | 'readsHost'>,
  unread: readonly Unread[],
): readonly Unread[] {
  return unread.length === 0
    ? none
    : unread.filter(({ name }) => (name === 'host' ? readsHost : parts.includes(name)));
}

const none: readonly Unread[] = [];
/**
 * Without IMA's list a boot is what it was: the aspect says itself what is not proven then. The inventory proves nothing,
 * so that nothing is lost without it.
 */
const readable = [...partNames.filter((name) => name !== 'ima' && name !== 'inventory'), 'host'] as const;

function isThere(name: Unread['name'], { boot, parts }: Proven): boolean {
  if (name === 'boot') return boot !== null;
  if (name === 'userSpace') return (boot?.userSpaceDigest ?? null) !== null;
  // Several collectors speak of the host: what others gave is not what this one did not.
  return name !== 'host' && name !== 'ima' && parts[name] !== undefined;
}

/** Collectors that have a code of their own. */
const codes: Readonly<Partial<Record<Unread['name'], ReasonCode>>> = { firewall: 'fw_unreadable' };

/** That is not proven, whatever the aspect makes of the rest. */
export function unavailable(aspect: AspectName, { name, cause }: Unread): Finding {
  return {
    code: codes[name] ?? 'facts_unavailable',
    aspect,
    source: 'host',
    expected: name === 'host' ? 'what the node says of its machine and kernel' : `the part ${name}`,
    actual: cause === '' ? 'no cause was given' : cause,
    text: `The node says that it could not read ${name === 'host' ? 'its machine and kernel' : `the part ${name}`}. So this is not proven.`,
    evidence: null,
  };
}
