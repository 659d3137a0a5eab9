import { isIP } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { AuditEvent } from '../protocol/audit.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import { sourceOf } from '../protocol/source.ts';

/** One refused message or connection. */
export interface Refusal {
  readonly code: ReasonCode;
  readonly text: string;
  /** The name that was claimed; null before a hello. Not proven by anything. */
  readonly node: string | null;
  readonly address: string;
}

/**
 * At most one audit entry per code and claimed node in this time, or per code and address where none is claimed; what
 * is left out is counted in the next one.
 */
const quietMs = 10_000;
/** How many such pairs are remembered; a flood of names cannot grow the memory. */
const rememberedPairs = 1024;
/** Entries of one address, or one network of IPv6, in that time: a name is free to invent, and each entry costs a write that is kept. */
const entriesPerAddress = 256;

/** Decides which refusals the audit log holds: every kind of them, but no flood. */
export function createRefusalBook(): (refusal: Refusal, at: number) => AuditEvent | null {
  const seen = new LRUCache<string, { at: number; leftOut: number }>({ max: rememberedPairs });
  const written = new LRUCache<string, { at: number; count: number; leftOut: number }>({
    max: rememberedPairs,
  });

  return ({ code, text, node, address }, at) => {
    // No name has a colon: a flood from one address hides neither a node nor another address.
    const source = isIP(address) === 0 ? address : sourceOf(address);
    const key = `${code} ${node ?? `address:${source}`}`;
    const before = seen.peek(key);
    if (before !== undefined && at < before.at + quietMs) {
      before.leftOut += 1;
      return null;
    }
    const mine = written.peek(source);
    const isQuiet = mine === undefined || at >= mine.at + quietMs;
    if (!isQuiet && mine.count >= entriesPerAddress) {
      mine.leftOut += 1;
      return null;
    }
    if (isQuiet) written.set(source, { at, count: 1, leftOut: 0 });
    else mine.count += 1;
    seen.set(key, { at, leftOut: 0 });
    return {
      at,
      actor: `address:${address}`,
      action: 'refuse',
      subject: node ?? '',
      code,
      detail: { text, leftOut: (before?.leftOut ?? 0) + (isQuiet ? (mine?.leftOut ?? 0) : 0) },
    };
  };
}
