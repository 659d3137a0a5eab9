import { fields } from './json-object.ts';
import type { Rule, Ruleset } from './ruleset.ts';

const all = 0xffff_ffffn;

/** Bits of a packet's mark that some rule may set: all where that cannot be determined. */
export function settable({ chains }: Ruleset): bigint {
  let bits = 0n;
  for (const { rules } of chains.values()) for (const { text } of rules) bits |= settableBy(text);
  return bits;
}

function settableBy(text: string): bigint {
  if (text.startsWith('[')) return /"(?:mangle|xt|queue)"/.test(text) ? settableByNft(text) : 0n;
  if (!/ -[jg] (?:MARK|CONNMARK|HMARK|TPROXY|SET|NFQUEUE|QUEUE)(?: |$)/.test(text)) return 0n;
  return changeOf(text)?.value ?? all;
}

/** Targets of xtables after which a packet may have another mark: also that which a program gives back. */
const marking: ReadonlySet<unknown> = new Set([
  'MARK',
  'CONNMARK',
  'HMARK',
  'TPROXY',
  'SET',
  'NFQUEUE',
  'QUEUE',
]);

function settableByNft(text: string): bigint {
  const statements = statementsOf(text);
  // Of an extension, the line of iptables-save stands behind the statements.
  const saved = statements.map(({ iptables }) => iptables).find((line) => typeof line === 'string');
  let bits = saved === undefined ? 0n : settableBy(saved);
  for (const { mangle, xt, queue } of statements) {
    if (queue !== undefined) bits |= all;
    if (saved === undefined && marking.has(fields(xt).name)) bits |= all;
    const { key, value } = fields(mangle);
    if (fields(fields(key).meta).key === 'mark') bits |= changeByNft(value)?.value ?? all;
  }
  return bits;
}

/** Bits that the rule sets to zero, where it does nothing but that; null if it does something else. */
export function clearedBy({ text, clauses }: Rule): bigint | null {
  const [clause, ...others] = clauses();
  if (clause === undefined || others.length > 0 || clause.outcome.do !== 'continue') return null;
  if (clause.conditions.length > 0) return null;
  const change = text.startsWith('[') ? onlyChange(text) : changeOf(text);
  return change === null || change.value !== 0n ? null : change.mask;
}

interface MarkChange {
  /** Bits that may be one afterwards. */
  readonly value: bigint;
  /** Bits that are zero afterwards, if they are not among those. */
  readonly mask: bigint;
}

/** `-j MARK --set-xmark VALUE/MASK`, as iptables-save shows each such target. */
function changeOf(text: string): MarkChange | null {
  const found = / -j MARK --set-xmark (0x[0-9a-f]{1,8})\/(0x[0-9a-f]{1,8})$/.exec(text);
  const [, value, mask] = found ?? [];
  return value === undefined || mask === undefined ? null : { value: BigInt(value), mask: BigInt(mask) };
}

function onlyChange(text: string): MarkChange | null {
  const [statement, ...others] = statementsOf(text).filter(({ comment }) => comment === undefined);
  const { key, value } = fields(statement?.mangle);
  return others.length === 0 && fields(fields(key).meta).key === 'mark' ? changeByNft(value) : null;
}

/** `meta mark & N`, `meta mark | N`, and both. */
function changeByNft(value: unknown): MarkChange | null {
  const own = fields(value);
  if (fields(own.meta).key === 'mark') return { value: 0n, mask: 0n };
  for (const operator of ['&', '|', '^'] as const) {
    const [of, bits] = Array.isArray(own[operator]) ? own[operator] : [];
    if (typeof bits !== 'number' || !Number.isInteger(bits) || bits < 0 || bits > 0xffff_ffff) continue;
    const before = changeByNft(of);
    if (before === null) return null;
    if (operator !== '&') return { ...before, value: before.value | BigInt(bits) };
    return { value: before.value & BigInt(bits), mask: before.mask | (all ^ BigInt(bits)) };
  }
  return null;
}

function statementsOf(text: string): readonly Readonly<Record<string, unknown>>[] {
  const statements: unknown = JSON.parse(text);
  return Array.isArray(statements) ? statements.map(fields) : [];
}
