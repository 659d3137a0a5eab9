import { hash } from 'node:crypto';
import { type AuditContent, type AuditEntry, genesis } from '../formats/audit.ts';

export type ChainCheck =
  | { readonly ok: true; readonly size: number; readonly head: string }
  | { readonly ok: false; readonly seq: number; readonly text: string };

/**
 * Puts an event into the chain. `hash` is SHA-256, hex, over the UTF-8 bytes of the RFC 8785 (JCS) form of
 * `["assay/audit/1", prev, seq, at, actor, action, subject, code, detail]`. Strings of the entry are well-formed
 * Unicode: a lone surrogate would not come back from a database as it went in.
 * @throws TypeError if a number is not finite or `detail` holds more than strings, numbers, booleans and null
 */
export function chainEntry(prevHash: string, seq: number, event: AuditContent): AuditEntry {
  const content = {
    at: event.at,
    actor: event.actor.toWellFormed(),
    action: event.action.toWellFormed(),
    subject: event.subject.toWellFormed(),
    code: event.code === null ? null : event.code.toWellFormed(),
    detail: Object.fromEntries(
      Object.entries(event.detail).map(([key, value]) => [
        key.toWellFormed(),
        typeof value === 'string' ? value.toWellFormed() : value,
      ]),
    ),
  };
  return { ...content, seq, prev: prevHash, hash: entryHash(prevHash, seq, content) };
}

/**
 * Checks every link, from the first entry or from the result of an earlier check (`from`). It detects neither a cut
 * tail nor a complete rewrite: for that, compare size and head with a witness.
 */
export function verifyChain(
  entries: Iterable<AuditEntry>,
  from: { readonly size: number; readonly head: string } = { size: 0, head: genesis },
): ChainCheck {
  let { size, head } = from;
  for (const entry of entries) {
    const seq = size + 1;
    const fault = faultOf(entry, seq, head);
    if (fault !== null) return { ok: false, seq, text: `audit entry ${seq} ${fault}` };
    size = seq;
    head = entry.hash;
  }
  return { ok: true, size, head };
}

function faultOf(entry: AuditEntry, seq: number, prev: string): string | null {
  if (entry.seq !== seq) return `is missing or out of place: found ${entry.seq} instead`;
  if (entry.prev !== prev) return 'does not follow the entry before it: one of the two was changed';
  let expected: string;
  try {
    expected = entryHash(prev, seq, entry);
  } catch (error) {
    return `cannot be hashed: ${error instanceof Error ? error.message : String(error)}`;
  }
  return entry.hash === expected ? null : 'was changed: its hash does not fit its content';
}

function entryHash(prev: string, seq: number, event: AuditContent): string {
  const { at, actor, action, subject, code, detail } = event;
  const parts = ['assay/audit/1', prev, seq, at, actor, action, subject, code];
  for (let index = 1; index < parts.length; index += 1) checkPlain(parts[index], 'part', index);
  const keys = Object.keys(detail);
  for (const key of keys) checkPlain(detail[key], 'detail', key);
  const sorted = inOrder(detail, keys.sort());
  if (sorted !== null) return hash('sha256', JSON.stringify([...parts, sorted]), 'hex');
  const pairs = keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(detail[key])}`);
  return hash('sha256', `${JSON.stringify(parts).slice(0, -1)},{${pairs.join(',')}}]`, 'hex');
}

/** The same object with its keys in this order; null if no object can have it, as keys like array indices come first. */
function inOrder(detail: AuditContent['detail'], keys: readonly string[]): AuditContent['detail'] | null {
  const sorted: Record<string, AuditContent['detail'][string]> = {};
  for (const key of keys) sorted[key] = detail[key] ?? null;
  let index = 0;
  for (const key in sorted) if (key !== keys[index++]) return null;
  return index === keys.length ? sorted : null;
}

function checkPlain(value: unknown, name: string, where: string | number): void {
  if (isPlain(value)) return;
  throw new TypeError(`${name} ${where} of an audit event is neither text, finite number, boolean nor null`);
}

function isPlain(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value);
    default:
      return value === null;
  }
}
