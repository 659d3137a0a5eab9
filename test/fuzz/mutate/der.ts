import type { Random } from '../random.ts';
import { changeBytes } from './bytes.ts';

/** A value with its tag; `inner` where its content is values again, so that lengths around a change stay right. */
interface Value {
  tag: number;
  content: Buffer;
  inner: Value[] | null;
}

/** One change to a tree of values. ITU-T X.690, section 8.1. What is no such tree is changed as bytes. */
export function changeDer(bytes: Buffer, donor: Buffer, random: Random): Buffer {
  const root: Value = { tag: 0x30, content: bytes, inner: valuesIn(bytes, 0) };
  const all = listed(root);
  const holder = random.pick(all.filter(({ inner }) => inner !== null && inner.length > 0));
  if (holder?.inner == null) return changeBytes(bytes, donor, random);
  const index = random.below(holder.inner.length);
  const value = holder.inner[index];
  if (value === undefined) return changeBytes(bytes, donor, random);
  const others = listed({ tag: 0x30, content: donor, inner: valuesIn(donor, 0) });
  switch (random.below(8)) {
    case 0:
      holder.inner.splice(index, 1);
      break;
    case 1:
      holder.inner.splice(index, 0, ...Array.from({ length: random.length(64) }, () => value));
      break;
    case 2:
      value.tag = random.pick([
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x30, 0x31, 0xa0, 0xa3,
      ]);
      break;
    case 3:
      holder.inner[index] = random.pick(others) ?? value;
      break;
    case 4:
      holder.inner.splice(index, 0, random.pick(others) ?? value);
      break;
    case 5:
      holder.inner.push(...holder.inner.splice(index, 1));
      break;
    default:
      value.inner = null;
      value.content = changeBytes(value.content, donor, random);
  }
  return Buffer.concat((root.inner ?? []).map(encoded));
}

const deepest = 24;

/** Null where the bytes are no values, one after the other. */
function valuesIn(bytes: Buffer, depth: number): Value[] | null {
  const values: Value[] = [];
  for (let at = 0; at < bytes.length; ) {
    const head = headAt(bytes, at);
    if (head === null) return null;
    const content = bytes.subarray(head.start, head.start + head.length);
    const tag = bytes[at] ?? 0;
    // A bit string may hold values behind its first byte; an octet string often does.
    const mayHold = (tag & 0x20) !== 0 || tag === 0x04;
    values.push({ tag, content, inner: mayHold && depth < deepest ? valuesIn(content, depth + 1) : null });
    at = head.start + head.length;
  }
  return values;
}

function headAt(bytes: Buffer, at: number): { readonly start: number; readonly length: number } | null {
  const first = bytes[at + 1];
  if (first === undefined) return null;
  const more = first < 0x80 ? 0 : first & 0x7f;
  if (more > 3 || at + 2 + more > bytes.length) return null;
  const length = first < 0x80 ? first : more === 0 ? 0 : bytes.readUIntBE(at + 2, more);
  const start = at + 2 + more;
  return start + length <= bytes.length ? { start, length } : null;
}

function listed(root: Value): Value[] {
  const all = [root];
  for (const { inner } of all) all.push(...(inner ?? []));
  return all;
}

function encoded({ tag, content, inner }: Value): Buffer {
  const body = inner === null ? content : Buffer.concat(inner.map(encoded));
  const { length } = body;
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : length < 0x1_0000
          ? [tag, 0x82, length >> 8, length & 0xff]
          : [tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
  return Buffer.concat([Buffer.from(head), body]);
}
