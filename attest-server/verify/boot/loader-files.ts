import { hash } from 'node:crypto';
import type { FileContent } from '../../wire/loader-files.ts';
import type { PcrBank } from '../../wire/messages.ts';
import { environmentLines, newBlocks, rewritesOf } from './environment-block.ts';
import { fileContent } from './file-content.ts';

/** For the compiler alone, as in proven.ts. */
declare class FileSeal {
  protected readonly classified: never;
}

/** A file whose digests were computed here; its bytes are needed no more. */
export interface KnownFile extends FileSeal {
  readonly digests: BankDigests & { readonly sha256: string };
  readonly content: FileContent;
  /** The lines of an environment block. */
  readonly lines: readonly string[] | null;
}

/** Files that a loader may have measured, as the part `loaderFiles` lists them. */
export interface FileSet {
  /** SHA-256 of the part, hex, and another one where some of what it lists is not known; null if there is none. */
  readonly digest: string | null;
  readonly files: readonly KnownFile[];
}

export const noFiles: FileSet = { digest: null, files: [] };

/** Why a digest is known. */
export interface DigestExplanation {
  readonly content: FileContent;
  /** SHA-256 of the file that says so; null if none had to be sent. */
  readonly file: string | null;
}

type BankDigests = Readonly<Partial<Record<PcrBank, string>>>;

/** @param inAllBanks where no SHA-256 bank is quoted; else that digest is enough, and the others cost as much again */
export function knownFile(bytes: Buffer, inAllBanks = false): KnownFile {
  // The one place that makes it: the seal exists for the compiler only.
  return {
    digests: digestsOf(bytes, inAllBanks ? banksOfFiles : ['sha256']),
    content: fileContent(bytes),
    lines: environmentLines(bytes),
  } as KnownFile;
}

function digestsOf(bytes: Buffer, banks: readonly PcrBank[]): KnownFile['digests'] {
  const digests: Partial<Record<PcrBank, string>> = {};
  for (const bank of banks) digests[bank] = hash(bank, bytes, 'hex');
  return { ...digests, sha256: digests.sha256 ?? hash('sha256', bytes, 'hex') };
}

/** Environment blocks that are tried for one boot: whoever sends them must not choose how long this takes. */
const mostTries = 256;
/** By which digest a file is known: they have no collisions, and any one of them will do. */
const banksOfFiles = ['sha256', 'sha384', 'sha512'] as const;

/**
 * Says of digests that a loader measured what the file was.
 * @param entries boot entries that the vouched commands name
 */
export function explainer(
  { files }: FileSet,
  entries: () => readonly string[],
): (digests: BankDigests, isEnvironment: boolean) => DigestExplanation | null {
  const known = new Map<string, DigestExplanation>([
    [hash('sha256', '', 'hex'), { content: 'text', file: null }],
  ]);
  for (const { digests, content } of files)
    for (const bank of banksOfFiles) {
      const digest = digests[bank];
      if (digest !== undefined) known.set(digest, { content, file: digests.sha256 });
    }
  let tries: Iterator<readonly [Buffer, string | null]> | null = null;
  let left = mostTries;
  return (digests, isEnvironment) => {
    const bank = banksOfFiles.find((one) => digests[one] !== undefined);
    const digest = bank && digests[bank];
    if (bank === undefined || digest === undefined) return null;
    const found = known.get(digest);
    if (found !== undefined || !isEnvironment) return found ?? null;
    tries ??= triesOf(files, entries());
    for (; left > 0; left--) {
      const next = tries.next();
      if (next.done) return null;
      const [block, file] = next.value;
      const made = hash(bank, block, 'hex');
      if (!known.has(made)) known.set(made, { content: 'environment', file });
      if (made === digest) return known.get(made) ?? null;
    }
    return null;
  };
}

/** Blocks of new systems, then each that was sent with all that may have been rewritten of it. */
function* triesOf(
  files: readonly KnownFile[],
  entries: readonly string[],
): Generator<readonly [Buffer, string | null]> {
  for (const block of newBlocks) yield [block, null];
  for (const { lines, digests } of files)
    if (lines !== null) for (const block of rewritesOf(lines, entries)) yield [block, digests.sha256];
}
