import type { Answer } from '../../attest-server/attest/answer.ts';

/** Whose boots are judged, and when. */
export const node = { name: 'worker-1' };
export const at = Date.UTC(2026, 0, 1);

/** Of its reference. */
export const captured = {
  name: 'bench',
  group: 'default',
  state: 'active',
  by: 'bench',
  node: node.name,
  at,
} as const;

const none = Buffer.alloc(0);

/** Its answer, of which only the log's digest counts. */
export function answerNaming(bootLog: string): Answer {
  return {
    evidence: { type: 'evidence', nonce: '', channel: '', facts: '', quotes: [], parts: {} },
    nonce: none,
    channel: none,
    helloDigest: '',
    selection: {},
    challengedAt: 0,
    parts: { boot: { digest: bootLog, bytes: null } },
  };
}
