import type { Proven } from '../verify/proven.ts';
import { type PartName, partNames } from '../wire/evidence.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { AspectName } from '../wire/verdict.ts';
import type { Aspect, UnreadPart } from './aspect.ts';
import type { Finding } from './finding.ts';

/** A part that is there is judged, whatever is said of it: one that grows is spoken of an answer late. */
export function unreadIn(proven: Proven): readonly UnreadPart[] {
  const said = proven.facts?.unavailable;
  if (said === undefined) return none;
  return readable.flatMap((name) => {
    const cause = Object.hasOwn(said, name) ? said[name] : undefined;
    return cause === undefined || isThere(name, proven) ? [] : [{ name, cause }];
  });
}

/** Those of these parts that the aspect reads. */
export function unreadBy(
  { parts, readsHost }: Pick<Aspect<AspectName, unknown>, 'parts' | 'readsHost'>,
  unread: readonly UnreadPart[],
): readonly UnreadPart[] {
  return unread.length === 0
    ? none
    : unread.filter(({ name }) => (name === 'host' ? readsHost : parts.includes(name)));
}

const none: readonly UnreadPart[] = [];
/**
 * Without IMA's list a boot is what it was: the aspect says itself what is not proven then. The inventory and what is installed
 * prove nothing, so that nothing is lost without them.
 */
const proveNothing: ReadonlySet<PartName> = new Set(['ima', 'inventory', 'installed']);
const readable = [...partNames.filter((name) => !proveNothing.has(name)), 'host'] as const;

function isThere(name: UnreadPart['name'], { boot, parts }: Proven): boolean {
  if (name === 'boot') return boot !== null;
  if (name === 'userSpace') return (boot?.userSpaceDigest ?? null) !== null;
  // Several collectors speak of the host: what others gave is not what this one did not.
  return name !== 'host' && name !== 'ima' && parts[name] !== undefined;
}

/** Collectors that have a code of their own. */
const codes: Readonly<Partial<Record<UnreadPart['name'], ReasonCode>>> = { firewall: 'fw_unreadable' };

/** The finding that the part is not proven, whatever the aspect makes of the rest. */
export function unavailable(aspect: AspectName, { name, cause }: UnreadPart): Finding {
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
