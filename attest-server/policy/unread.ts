import { z } from 'zod';
import { partNames } from '../protocol/evidence.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import {
  type Aspect as AspectName,
  aspects as aspectNames,
  aspectSchema,
  type Reason,
  reasonSchema,
} from '../protocol/verdict.ts';
import type { Proven } from '../verify/proven.ts';
import type { Aspect, Judgement, Past, Unread } from './aspect.ts';
import { breaksPolicy, type Finding } from './finding.ts';

/** A part that is there is judged, whatever is said of it: one that grows is spoken of an answer late. */
export function unreadIn(proven: Proven): readonly Unread[] {
  const said = proven.facts?.unavailable;
  if (said === undefined) return none;
  return readable.flatMap((name) => {
    const cause = Object.hasOwn(said, name) ? said[name] : undefined;
    return cause === undefined || isThere(name, proven) ? [] : [{ name, cause }];
  });
}

/** Who says that he could not read a part does not leave it out in silence. */
export function pastBut(unread: readonly Unread[], past: Past): Past {
  if (unread.length === 0) return past;
  const names = new Set<string>(unread.map(({ name }) => name));
  return { sentParts: past.sentParts.filter((name) => !names.has(name)), memory: past.memory };
}

/** What an aspect reads of a node, besides what the TPM vouches for in every answer. */
type Reader = Pick<Aspect<AspectName, unknown>, 'name' | 'parts' | 'readsHost'>;

/** Of these, what the aspect reads. */
export function unreadBy({ parts, readsHost }: Reader, unread: readonly Unread[]): readonly Unread[] {
  return unread.length === 0
    ? none
    : unread.filter(({ name }) => (name === 'host' ? readsHost : parts.includes(name)));
}

/**
 * The judgement of an aspect that reads all these, none of which is affirmed. What else was found stays, and so does what
 * was remembered and what stood against it: a node that lies gains nothing by saying this.
 * @param against what broke the policy when the aspect was last read; null where nothing did
 */
export function withUnread(
  { findings, source }: Judgement,
  aspect: AspectName,
  unread: readonly Unread[],
  against: Finding | null,
): Judgement {
  const found = [...unread.map((one) => unavailable(aspect, one)), ...findings];
  if (against !== null && !found.some(({ code }) => code === against.code))
    found.push({ ...against, text: `${against.text} It has not been read again since.` });
  return { findings: found, affirmed: false, source };
}

/** By aspect, what broke the policy when it was last read. */
export type Against = Readonly<Partial<Record<AspectName, Finding>>>;

/** Beside what the aspects remember of a node, under a name that is none of theirs. */
const key = 'against';
const against = z.partialRecord(aspectSchema, reasonSchema.omit({ class: true, severity: true }));

export function againstIn(memory: Past['memory']): Against {
  const kept = memory[key];
  // Only this file writes it; a bundle may hold anything.
  return kept === undefined ? nothing : (against.safeParse(kept).data ?? nothing);
}

/**
 * The same once an answer is judged. What stands against an aspect that was not read stays until it is read again.
 * @param reasons of the verdict, what breaks the policy first
 */
export function nextAgainst(
  before: Against,
  reasons: readonly Reason[],
  readers: readonly Reader[],
  unread: readonly Unread[],
): Against {
  if (reasons.length === 0 && before === nothing) return nothing;
  const next: Partial<Record<AspectName, Finding>> = {};
  for (const reason of reasons) {
    const { aspect } = reason;
    const reader = readers.find(({ name }) => name === aspect);
    if (reader === undefined || next[aspect] !== undefined || !breaksPolicy(reason)) continue;
    // Of what reads nothing, nothing can be withheld.
    if (reader.parts.length === 0 && !reader.readsHost) continue;
    const kept = unreadBy(reader, unread).length > 0 ? before[aspect] : undefined;
    next[aspect] = kept ?? asFinding(reason);
  }
  return Object.keys(next).length === 0 ? nothing : next;
}

/** With what stood before against aspects of which nothing was said. */
export function keptAgainst(
  before: Against,
  next: Against,
  isSaid: (aspect: AspectName) => boolean,
): Against {
  const kept: Partial<Record<AspectName, Finding>> = { ...next };
  for (const name of aspectNames) if (before[name] !== undefined && !isSaid(name)) kept[name] = before[name];
  return Object.keys(kept).length === 0 ? nothing : kept;
}

/** The memory of a node with this in it. */
export function withAgainst(memory: Past['memory'], next: Against): Past['memory'] {
  if (next !== nothing) return { ...memory, [key]: next };
  if (!(key in memory)) return memory;
  const { [key]: _, ...others } = memory;
  return others;
}

const nothing: Against = {};

function asFinding({ class: _class, severity: _severity, ...finding }: Reason): Finding {
  return finding;
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

function unavailable(aspect: AspectName, { name, cause }: Unread): Finding {
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
