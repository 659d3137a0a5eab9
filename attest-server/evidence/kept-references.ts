import { z } from 'zod';
import type { Reference } from '../formats/reference.ts';
import { blob, type ReadBlob } from './kept-form.ts';

/*
 * References as they are kept beside evidence: JSON. Where some list files, a head and a line of digests come first, and each
 * list is a blob of its own, named by its digest in the place of its base64. Else each step of any reference wrote all anew.
 */

export const keptReferencesHead = 'assay/references/1\n';

/** @returns the text to keep, and the lists that it names: base64 by digest */
export function keepReferences(references: readonly Reference[]): {
  readonly text: string;
  readonly lists: ReadonlyMap<string, string>;
} {
  const lists = new Map<string, string>();
  const named = references.map((reference) => {
    const { runtime } = reference;
    if (runtime === undefined) return reference;
    const { digest } = blob(Buffer.from(runtime.files, 'base64'));
    lists.set(digest, runtime.files);
    return { ...reference, runtime: { ...runtime, files: digest } };
  });
  const json = JSON.stringify(named);
  return {
    text: lists.size === 0 ? json : `${keptReferencesHead}${[...lists.keys()].join(' ')}\n${json}`,
    lists,
  };
}

/** Digests of the lists that kept references name. */
export function listsOfReferences(bytes: Buffer): readonly string[] {
  const { line } = split(bytes);
  return line === '' ? [] : line.split(' ');
}

/** The references as they were; null if a list of them is gone. */
export async function readReferences(bytes: Buffer, read: ReadBlob): Promise<unknown[] | null> {
  const { line, json } = split(bytes);
  const kept = references.parse(JSON.parse(json));
  if (line === '') return kept;
  const whole: unknown[] = [];
  for (const reference of kept) {
    const listing = withFiles.safeParse(reference).data;
    const list = listing === undefined ? undefined : await read(listing.runtime.files);
    if (list === null) return null;
    whole.push(
      listing === undefined || list === undefined
        ? reference
        : { ...listing, runtime: { ...listing.runtime, files: list.toString('base64') } },
    );
  }
  return whole;
}

const references = z.array(z.unknown());
const withFiles = z.looseObject({ runtime: z.looseObject({ files: z.string() }) });

/** Splits the line from the JSON. Bytes from before references listed files are JSON alone. */
function split(bytes: Buffer): { readonly line: string; readonly json: string } {
  const text = bytes.toString('utf8');
  if (!text.startsWith(keptReferencesHead)) return { line: '', json: text };
  const end = text.indexOf('\n', keptReferencesHead.length);
  return { line: text.slice(keptReferencesHead.length, end), json: text.slice(end + 1) };
}
