import { CliError, exit } from './exit.ts';

/** The digest by which earlier evidence is named, whole. @throws CliError (usage) */
export function evidenceDigest(given: string): string {
  if (/^[0-9a-f]{64}$/.test(given)) return given;
  throw new CliError(
    `${given} is no digest of evidence`,
    'Give all 64 hex digits, as `assay history NODE -o wide` shows them.',
    exit.usage,
  );
}
