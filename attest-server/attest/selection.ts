import type { Introduction, PcrSelection } from '../protocol/messages.ts';

const allPcrs = Array.from({ length: 24 }, (_, pcr) => pcr);

/** All PCRs of the best bank that the TPM has. */
export function selectionFor(hello: Introduction): PcrSelection {
  const bank = (['sha256', 'sha384', 'sha512'] as const).find((name) => hello.banks.includes(name)) ?? 'sha1';
  return { [bank]: allPcrs };
}
