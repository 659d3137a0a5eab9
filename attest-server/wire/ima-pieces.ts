import { limits } from './limits.ts';
import { Rejection } from './rejection.ts';

/** A piece of IMA's list as the server keeps it; an entry may begin in one and end in the next. */
export interface ImaPiece {
  /** SHA-256 of its bytes, hex. */
  readonly digest: string;
  readonly bytes: number;
}

/** Bytes with which the index of a list begins; no list of the kernel does, nor any other part. */
export const imaIndexHead = 'assay/ima-pieces/1\n';

/** The part `ima` where a list is kept in pieces: each with its size, in order, one a line. */
export function imaIndex(pieces: readonly ImaPiece[]): Buffer {
  return Buffer.from(`${imaIndexHead}${pieces.map(({ digest, bytes }) => `${digest} ${bytes}\n`).join('')}`);
}

export function isImaIndex(bytes: Buffer): boolean {
  return bytes.toString('latin1', 0, imaIndexHead.length) === imaIndexHead;
}

/** @throws Rejection `malformed`, `too_large` */
export function parseImaIndex(bytes: Buffer): readonly ImaPiece[] {
  if (!isImaIndex(bytes)) throw notOne('it begins otherwise');
  if (bytes.length > mostIndexBytes)
    throw new Rejection('too_large', `an index of ${bytes.length} bytes`, { field: 'parts.ima' });
  const lines = bytes.toString('latin1', imaIndexHead.length).split('\n');
  if (lines.pop() !== '') throw notOne('its last line has no end');
  return lines.map((line, index) => {
    const found = /^([0-9a-f]{64}) ([1-9][0-9]{0,6})$/.exec(line);
    const [, digest = '', size = ''] = found ?? [];
    if (found === null || Number(size) > limits.ima.piece) throw notOne(`line ${index + 2} is no piece`);
    return { digest, bytes: Number(size) };
  });
}

/** The most bytes of an index, with pieces as small as a server keeps them. */
const mostIndexBytes = 1024 * 1024;

function notOne(text: string): Rejection {
  return new Rejection('malformed', `no index of IMA's list: ${text}`, { field: 'parts.ima' });
}
