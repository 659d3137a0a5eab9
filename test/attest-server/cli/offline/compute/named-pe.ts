import { headerBytes, madePe } from '../../../../../swtpm-fixtures/made-pe.ts';

/** An image with named sections, one after the other. */
export function namedPe(sections: Readonly<Record<string, Buffer>>, plus = true): Buffer {
  let at = headerBytes;
  const placed = Object.values(sections).map((content) => {
    const here = { at, content };
    at += Math.ceil(content.length / 0x200) * 0x200;
    return here;
  });
  const bytes = madePe(plus, placed, Buffer.alloc(0));
  const table = 0x80 + 24 + (plus ? 240 : 224);
  Object.keys(sections).forEach((name, i) => {
    bytes.fill(0, table + i * 40, table + i * 40 + 8);
    bytes.write(name, table + i * 40);
  });
  return bytes;
}
