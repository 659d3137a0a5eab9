import type { ReasonCode } from './protocol/reasons.ts';
import type { AuditEvent } from './store/store.ts';

/** One refused message or connection. */
export interface Refusal {
  readonly code: ReasonCode;
  readonly text: string;
  /** The name that was claimed; null before a hello. Not proven by anything. */
  readonly node: string | null;
  readonly address: string;
}

/** At most one audit entry per code and claimed node in this time; what is left out is counted in the next one. */
const quietMs = 10_000;
/** How many (code, node) pairs are remembered; a flood of names cannot grow the memory. */
const rememberedPairs = 1024;

/** Decides which refusals the audit log holds: every kind of them, but no flood. */
export function createRefusalBook(): (refusal: Refusal, at: number) => AuditEvent | null {
  const seen = new Map<string, { at: number; leftOut: number }>();
  return ({ code, text, node, address }, at) => {
    const key = `${code} ${node}`;
    const before = seen.get(key);
    if (before !== undefined && at < before.at + quietMs) {
      before.leftOut += 1;
      return null;
    }
    seen.delete(key);
    const [oldest] = seen.keys();
    if (seen.size >= rememberedPairs && oldest !== undefined) seen.delete(oldest);
    seen.set(key, { at, leftOut: 0 });
    return {
      at,
      actor: `address:${address}`,
      action: 'refuse',
      subject: node ?? '',
      code,
      detail: { text, leftOut: before?.leftOut ?? 0 },
    };
  };
}
