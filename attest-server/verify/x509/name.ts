import { type DerReader, tag } from '../../formats/der.ts';

/** Attributes of a distinguished name: object identifier (hex of its DER content) -> first value, as text. */
export interface DistinguishedName {
  /** Equal for names that RFC 5280, section 7.1 holds equal, whatever their string types and the order within a set. */
  readonly key: string;
  readonly attributes: ReadonlyMap<string, string>;
}

/** Reads a Name's content. Several makers write their sets in an order that DER forbids: any order is read. */
export function readName(reader: DerReader, field: string): DistinguishedName {
  const attributes = new Map<string, string>();
  const sets: string[] = [];
  while (reader.peek() !== undefined) {
    const set = reader.inside(tag.set, field);
    const members: string[] = [];
    while (set.peek() !== undefined) {
      const pair = set.inside(tag.sequence, field);
      const oid = pair.take(tag.oid, field).content.toString('hex');
      const value = pair.any(field);
      pair.end(field);
      const text = textOf(value.tag, value.content);
      if (!attributes.has(oid)) attributes.set(oid, text);
      members.push(`${oid}=${text.trim().replace(/\s+/g, ' ').toLowerCase()}`);
    }
    sets.push(JSON.stringify(members.sort()));
  }
  return { key: sets.join(), attributes };
}

const bmpString = 0x1e;
const utf8String = 0x0c;

function textOf(type: number, content: Buffer): string {
  if (type === bmpString && content.length % 2 === 0)
    return Buffer.from(content).swap16().toString('utf16le');
  return content.toString(type === utf8String ? 'utf8' : 'latin1');
}
