import { nodeName } from '../wire/messages.ts';

export interface PinFile {
  readonly pins: readonly { readonly node: string; readonly ek: string }[];
  readonly faults: readonly { readonly line: number; readonly text: string }[];
}

/**
 * Parses `node,hex` lines, hex being the SHA-256 of the endorsement key's TPMT_PUBLIC. Blank lines and lines that
 * begin with `#` are left out. A node or a key that stands twice is a fault: one of the two is wrong.
 */
export function parsePins(text: string): PinFile {
  const pins: { node: string; ek: string }[] = [];
  const faults: { line: number; text: string }[] = [];
  const lineOf = new Map<string, number>();
  for (const [index, raw] of text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .entries()) {
    const line = index + 1;
    const entry = raw.trim();
    if (entry === '' || entry.startsWith('#')) continue;
    const [node = '', hex = '', ...more] = entry.split(',').map((cell) => cell.trim());
    const ek = hex.toLowerCase();
    const fault = faultOf(node, ek, more) ?? repeated(lineOf, line, node, ek);
    if (fault === null) pins.push({ node, ek });
    else faults.push({ line, text: fault });
  }
  if (pins.length === 0 && faults.length === 0)
    faults.push({ line: 1, text: 'the file holds no line node,hex' });
  return { pins, faults };
}

function faultOf(node: string, ek: string, more: readonly string[]): string | null {
  if (more.length > 0) return 'more than two columns; write node,hex';
  if (!nodeName.safeParse(node).success) return `"${node.slice(0, 64)}" is not a node name`;
  if (!/^[0-9a-f]{64}$/.test(ek)) return `"${ek.slice(0, 80)}" is not a SHA-256 digest of 64 hex digits`;
  return null;
}

function repeated(lineOf: Map<string, number>, line: number, node: string, ek: string): string | null {
  for (const [what, key] of [
    ['node', `node ${node}`],
    ['key', `key ${ek}`],
  ] as const) {
    const earlier = lineOf.get(key);
    if (earlier !== undefined) return `this ${what} is already in line ${earlier}`;
    lineOf.set(key, line);
  }
  return null;
}
