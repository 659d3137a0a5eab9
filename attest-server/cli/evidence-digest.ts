import { printable } from '../wire/printable.ts';
import { CliError, exit } from './exit.ts';
import { shownDigits } from './readable.ts';

/** The digest by which earlier evidence of a node is named, or its first digits. @throws CliError (usage) */
export function evidenceDigest(node: string, given: string): string {
  if (/^[0-9a-f]{12,64}$/i.test(given)) return given.toLowerCase();
  throw new CliError(
    `${given} is not a digest of evidence`,
    `Give its first ${shownDigits} hex digits or more. This command shows them:\n  assay history ${printable(node)} -o wide`,
    exit.usage,
  );
}
