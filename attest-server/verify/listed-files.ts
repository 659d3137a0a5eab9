import type { Part } from '../wire/evidence.ts';
import { parseFileList } from '../wire/loader-files.ts';
import { type FileSet, type KnownFile, knownFile, noFiles } from './boot/loader-files.ts';
import { hashPart, otherDigest } from './hashed-part.ts';
import type { Memory } from './memory.ts';

/**
 * The files that this part lists, each under the digest of its own bytes. One that is neither given nor remembered is left
 * out: what it would explain stays unexplained.
 * @param inAllBanks whether a digest of SHA-256 alone does not tell which file it is
 * @throws Rejection `malformed`, `too_large` for a list that is none; `malformed` for bytes of another digest
 */
export function checkFiles(
  part: Part | undefined,
  given: ReadonlyMap<string, Buffer>,
  memory: Memory | null,
  inAllBanks: boolean,
): FileSet {
  if (part === undefined) return noFiles;
  const known = memory?.files(part.digest) ?? null;
  if (known?.files.every((file) => isEnough(file, inAllBanks))) return known;
  if (part.bytes === null) return noFiles;
  if (hashPart(part.bytes).digest !== part.digest) throw otherDigest('parts.loaderFiles');
  const listed = parseFileList(part.bytes);
  const files: KnownFile[] = [];
  for (const digest of listed) {
    const remembered = memory?.file(digest) ?? null;
    const isUsable = remembered !== null && isEnough(remembered, inAllBanks);
    const file = isUsable ? remembered : fileOf(digest, given.get(digest), inAllBanks);
    if (file !== null) files.push(file);
  }
  const isWhole = files.length === listed.length;
  const set: FileSet = { digest: isWhole ? part.digest : digestOfSome(part.digest, files), files };
  for (const file of files) memory?.keepFile(file);
  if (isWhole) memory?.keepFiles(set);
  return set;
}

/** The digest of some files: what is made of these, and remembered by it, is not what all of them would say. */
function digestOfSome(list: string, files: readonly KnownFile[]): string {
  return hashPart(Buffer.from([list, ...files.map(({ digests }) => digests.sha256)].join(' '))).digest;
}

function isEnough({ digests }: KnownFile, inAllBanks: boolean): boolean {
  return !inAllBanks || digests.sha384 !== undefined;
}

function fileOf(digest: string, bytes: Buffer | undefined, inAllBanks: boolean): KnownFile | null {
  if (bytes === undefined) return null;
  const file = knownFile(bytes, inAllBanks);
  if (file.digests.sha256 !== digest) throw otherDigest(`files.${digest}`);
  return file;
}
