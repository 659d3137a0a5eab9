/** One entry of a tar archive, as ustar writes it; what is given takes the place of what is right. */
export interface MadeEntry {
  readonly name: string;
  readonly content?: string;
  readonly type?: string;
  readonly linkTo?: string;
  /** The text of the field, where it is not that of the content's length. */
  readonly size?: string;
  readonly checksum?: string;
}

export function madeTar(...entries: readonly MadeEntry[]): Buffer {
  return Buffer.concat([...entries.map(entryOf), Buffer.alloc(1024)]);
}

function entryOf({ name, content = '', type = '0', linkTo = '', size, checksum }: MadeEntry): Buffer {
  const bytes = Buffer.from(content);
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write('0000644\0', 100);
  header.write(size ?? `${bytes.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('        ', 148);
  header.write(type, 156);
  header.write(linkTo, 157, 100);
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(checksum ?? `${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** Members of an archive of ar, in order. */
export function madeAr(...members: readonly (readonly [string, Buffer])[]): Buffer {
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    ...members.map(([name, bytes]) =>
      Buffer.concat([
        Buffer.from(
          `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(bytes.length).padEnd(10)}\`\n`,
        ),
        bytes,
        Buffer.alloc(bytes.length % 2, '\n'),
      ]),
    ),
  ]);
}

/** A package whose parts are not packed. */
export function madeDeb(...data: readonly MadeEntry[]): Buffer {
  return madeAr(
    ['debian-binary', Buffer.from('2.0\n')],
    ['control.tar', madeTar({ name: './control', content: 'Package: tool\nVersion: 1:1.0-1\n' })],
    ['data.tar', madeTar(...data)],
  );
}
