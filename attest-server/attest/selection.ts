import type { Introduction, PcrSelection } from '../protocol/messages.ts';
import type { NodeStatus } from '../store/store.ts';

/** What a node is asked for, and which logs it need not send again. */
export interface Question {
  readonly selection: PcrSelection;
  readonly holds: readonly string[];
}

const allPcrs = Array.from({ length: 24 }, (_, pcr) => pcr);

/** All PCRs of the best bank that the TPM has. */
export function questionFor(hello: Introduction, status: NodeStatus | null): Question {
  const bank = (['sha256', 'sha384', 'sha512'] as const).find((name) => hello.banks.includes(name)) ?? 'sha1';
  const log = status?.bootLogDigest ?? null;
  return { selection: { [bank]: allPcrs }, holds: log === null ? [] : [log] };
}
