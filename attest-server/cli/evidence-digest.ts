import { CliError, exit } from './exit.ts';

/** The digest by which earlier evidence is named, whole. @throws CliError (usage) */
export function evidenceDigest(word: string): string {
  if (/^[0-9a-f]{64}$/.test(word)) return word;
  throw new CliError(
    `${word} is no digest of evidence`,
    'Give all 64 hex digits, as `assay history NODE -o wide` shows them.',
    exit.usage,
  );
}
