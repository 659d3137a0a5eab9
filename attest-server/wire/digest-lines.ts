import type { PartName } from './evidence.ts';
import { limits } from './limits.ts';
import { Rejection } from './rejection.ts';

/** A part that is a list of others: what it begins with, which part it is, and how many it may name. */
export interface DigestLines {
  readonly head: string;
  readonly part: PartName;
  readonly count: number;
}

/** SHA-256 digests, ascending, one a line. */
export function digestLines({ head }: DigestLines, digests: Iterable<string>): Buffer {
  const lines = [...new Set(digests)].sort().map((digest) => `${digest}\n`);
  return Buffer.from(`${head}${lines.join('')}`);
}

/** @throws Rejection `malformed`, `too_large` */
export function parseDigestLines(form: DigestLines, bytes: Buffer): readonly string[] {
  const { head, part, count } = form;
  const field = `parts.${part}`;
  const tooLarge = (text: string) => new Rejection('too_large', `a list of ${text}`, { field });
  const notOne = (text: string) => new Rejection('malformed', `no list of digests: ${text}`, { field });
  if (bytes.length > limits.parts[part]) throw tooLarge(`${bytes.length} bytes`);
  const text = bytes.toString('latin1');
  const digests = text.slice(head.length).split('\n').slice(0, -1);
  if (!text.startsWith(head) || digests.some((digest) => !/^[0-9a-f]{64}$/.test(digest)))
    throw notOne('it holds something else than SHA-256 digests');
  if (digests.length > count) throw tooLarge(`${digests.length} digests`);
  if (!digestLines(form, digests).equals(bytes)) throw notOne('its digests are not in order');
  return digests;
}
