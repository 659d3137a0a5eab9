import type { Bundle } from '../protocol/bundle.ts';
import { type PartName, partNames } from '../protocol/evidence.ts';
import { parseFileList } from '../protocol/loader-files.ts';
import { openEarlier } from './earlier-form.ts';
import { jsonIn, openKept, type ReadBlob } from './kept-form.ts';
import { readReferences } from './kept-references.ts';

/** Makes the file that travels: everything that the verdict was made from. Null where a part of it is gone. */
export async function unpackEvidence(digest: string, read: ReadBlob): Promise<Bundle | null> {
  const bytes = await read(digest);
  const value = bytes === null ? null : jsonIn(bytes);
  const opened = (await openKept(value, read)) ?? (await openEarlier(value, read));
  if (opened === null) return null;
  const { document, keys } = opened;
  const [policy, named, parts] = await Promise.all([
    read(opened.policy),
    read(opened.references),
    withBytes(document.parts, read),
  ]);
  const files = await filesOf(parts.loaderFiles?.bytes, read);
  const references = named === null ? null : await readReferences(named, read);
  if (policy === null || references === null || document.context === undefined) return null;
  return {
    version: 2,
    attestationKey: keys.attestationKey,
    binding: document.binding,
    quotes: document.quotes,
    facts: document.facts,
    parts,
    files,
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

/** One that is gone explains nothing any more. */
async function filesOf(list: string | undefined, read: ReadBlob): Promise<Bundle['files']> {
  if (list === undefined) return undefined;
  const files: Record<string, string> = {};
  for (const digest of parseFileList(Buffer.from(list, 'base64'))) {
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
