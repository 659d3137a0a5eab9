import { hash } from 'node:crypto';
import type { Bundle } from '../formats/bundle.ts';
import { type PartName, partNames } from '../wire/evidence.ts';
import { type ImaPiece, imaIndex, isImaIndex, parseImaIndex } from '../wire/ima-pieces.ts';
import { supplementForms, supplementNames } from '../wire/supplements.ts';
import { openEarlier } from './earlier-form.ts';
import { jsonIn, openKept, type ReadBlob } from './kept-form.ts';
import { readReferences } from './kept-references.ts';

/**
 * Makes the file that travels: everything that the verdict was made from. Null if a part of it is gone.
 * @param readPiece reads a piece of IMA's list, which nobody else reads: as `read` unless given
 */
export async function unpackEvidence(
  digest: string,
  read: ReadBlob,
  readPiece: ReadBlob = read,
): Promise<Bundle | null> {
  const bytes = await read(digest);
  const value = bytes === null ? null : jsonIn(bytes);
  const opened = (await openKept(value, read)) ?? (await openEarlier(value, read));
  if (opened === null) return null;
  const { document, keys, tails } = opened;
  const [policy, named, parts] = await Promise.all([
    read(opened.policy),
    read(opened.references),
    withBytes(document.parts, read),
  ]);
  const ima = await wholeList(parts.ima, tails.ima ?? noTail, readPiece);
  const { ima: _, ...others } = parts;
  const files = await filesOf(listedIn(others), read);
  const references = named === null ? null : await readReferences(named, read);
  if (policy === null || references === null || document.context === undefined) return null;
  return {
    version: 2,
    attestationKey: keys.attestationKey,
    binding: document.binding,
    quotes: document.quotes,
    facts: document.facts,
    parts: ima === null ? parts : { ...parts, ima: ima.part },
    files: ima === null ? files : { ...files, ...ima.files },
    endorsement: keys.endorsement,
    previous: document.previous,
    context: {
      ...document.context,
      policy: policy.toString('utf8'),
      references,
      roots: keys.roots,
    },
  };
}

/** IMA's list in pieces, of which the tail is the last one; null if the part is not one, or is a list by itself. */
async function wholeList(
  part: Bundle['parts']['ima'],
  tail: Buffer,
  read: ReadBlob,
): Promise<{ readonly part: Bundle['parts']['ima']; readonly files: Record<string, string> } | null> {
  if (part?.bytes === undefined) return null;
  const sealed = Buffer.from(part.bytes, 'base64');
  if (!isImaIndex(sealed)) return null;
  const pieces: ImaPiece[] = [];
  const files: Record<string, string> = {};
  const add = (bytes: Buffer) => {
    const digest = hash('sha256', bytes, 'hex');
    pieces.push({ digest, bytes: bytes.length });
    files[digest] = bytes.toString('base64');
  };
  for (const { digest } of parseImaIndex(sealed)) {
    const bytes = await read(digest);
    // Half a list says something else than a whole one.
    if (bytes === null) return { part: { digest: part.digest }, files: {} };
    add(bytes);
  }
  if (tail.length > 0) add(tail);
  const index = imaIndex(pieces);
  return { part: { digest: hash('sha256', index, 'hex'), bytes: index.toString('base64') }, files };
}

const noTail = Buffer.alloc(0);

function listedIn(parts: Bundle['parts']): readonly string[] {
  return supplementNames.flatMap((name) => {
    const bytes = parts[name]?.bytes;
    return bytes === undefined ? [] : supplementForms[name].listed(Buffer.from(bytes, 'base64'));
  });
}

/** One that is gone explains nothing any more. */
async function filesOf(digests: readonly string[], read: ReadBlob): Promise<Bundle['files']> {
  if (digests.length === 0) return undefined;
  const files: Record<string, string> = {};
  for (const digest of digests) {
    const bytes = await read(digest);
    if (bytes !== null) files[digest] = bytes.toString('base64');
  }
  return files;
}

/** A part whose bytes are gone stays named: what it would show is not appraised then. */
async function withBytes(parts: Bundle['parts'], read: ReadBlob): Promise<Bundle['parts']> {
  const whole: Partial<Record<PartName, { digest: string; bytes?: string }>> = {};
  await Promise.all(
    partNames.map(async (name) => {
      const digest = parts[name]?.digest;
      if (digest === undefined) return;
      const bytes = await read(digest);
      whole[name] = bytes === null ? { digest } : { digest, bytes: bytes.toString('base64') };
    }),
  );
  return whole;
}
