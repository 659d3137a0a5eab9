import pLimit from 'p-limit';
import { z } from 'zod';
import { type AuditKey, followRotations } from '../attest-server/wire/audit-key.ts';
import { type Checkpoint, checkpointLength, verifyCheckpoint } from '../attest-server/wire/checkpoint.ts';
import type { VerdictMessage } from '../attest-server/wire/messages.ts';
import { Rejection } from '../attest-server/wire/rejection.ts';
import { AgentError } from './agent-error.ts';
import type { StateDir } from './state-dir.ts';

/**
 * Remembers how long the server's audit log was, so that a cut or rewritten one is noticed. The first key that is
 * seen is pinned, under the word of the TLS authority; later ones count only where the pinned one leads to them. A log
 * of another origin, as of a server that lost its key, is reported and then witnessed in place of the old one.
 */
export interface AuditWitness {
  /** The latest checkpoint that verified, for the hello. */
  readonly checkpoint: string | null;
  /** Gives a sentence where the log that the server shows is not the one seen before (`audit_rollback`). */
  observe(verdict: Pick<VerdictMessage, 'checkpoint' | 'auditKeys'>): string | null;
  /** Writes what is not written yet. */
  flush(): Promise<void>;
}

const shape = z.strictObject({
  /** Base64 of the key that signed the checkpoint. */
  publicKey: z.base64().length(44),
  checkpoint: z.string().max(checkpointLength),
});
type KeptCheckpoints = z.infer<typeof shape>;

/** The log of a busy server grows with each verdict: writing each time would wear the disk for nothing. */
const writeEveryMs = 5_000;

/** @throws AgentError `state_dir` if the file is damaged: its owner decides whether to start over */
export async function openAuditWitness(
  state: StateDir,
  failed: (error: unknown) => void,
): Promise<AuditWitness> {
  const text = await state.read('audit');
  let { kept, head } = text === null ? { kept: null, head: null } : parseKept(text);
  let writtenAt = Number.NEGATIVE_INFINITY;
  let isDirty = false;
  const inTurn = pLimit(1);

  let isProofKept = false;
  /** The oldest proof of another log stays for a person to see, also once this one is longer than what was seen. */
  const keepProof = () => {
    if (isProofKept) return;
    isProofKept = true;
    const proof = `${JSON.stringify(kept)}\n`;
    inTurn(async () => (await state.read('auditEarlier')) ?? state.write('auditEarlier', proof)).catch(
      failed,
    );
  };

  /** Reports it once; then the new origin is what is witnessed. */
  const beginAnew = (seen: ReturnType<typeof verified>, checkpoint: string) => {
    keepProof();
    kept = { publicKey: seen.publicKey, checkpoint };
    head = seen.checkpoint;
    isDirty = true;
    write();
  };

  const write = () => {
    if (!isDirty || kept === null) return;
    isDirty = false;
    writtenAt = performance.now();
    const content = `${JSON.stringify(kept)}\n`;
    inTurn(() => state.write('audit', content)).catch(failed);
  };

  const writeWhenDue = () => {
    if (performance.now() - writtenAt >= writeEveryMs) write();
  };

  return {
    get checkpoint() {
      return kept?.checkpoint ?? null;
    },
    observe({ checkpoint, auditKeys }) {
      if (checkpoint === undefined || auditKeys === undefined) return null;
      if (checkpoint === kept?.checkpoint) {
        // Also where the log grows no more: what came too soon after the last write is not written yet.
        writeWhenDue();
        return null;
      }
      try {
        const isOther = head !== null && originOf(checkpoint) !== head.origin;
        const seen = verified(checkpoint, auditKeys, isOther ? null : (kept?.publicKey ?? null));
        if (isOther && head !== null) {
          const text = `the server signs a new audit log, ${seen.checkpoint.origin}; before, this agent saw ${head.size} entries of ${head.origin}`;
          beginAnew(seen, checkpoint);
          return text;
        }
        const fault = head === null ? null : contradiction(head, seen.checkpoint);
        if (fault !== null) {
          keepProof();
          return fault;
        }
        const isNew = seen.checkpoint.size !== head?.size || seen.publicKey !== kept?.publicKey;
        kept = { publicKey: seen.publicKey, checkpoint };
        head = seen.checkpoint;
        isDirty ||= isNew;
        writeWhenDue();
        return null;
      } catch (error) {
        if (error instanceof Rejection) return error.message;
        throw error;
      }
    },
    flush() {
      write();
      return inTurn(() => {});
    },
  };
}

/** @throws Rejection */
function verified(
  note: string,
  keys: readonly AuditKey[],
  pinned: string | null,
): { readonly checkpoint: Checkpoint; readonly publicKey: string } {
  const origin = originOf(note);
  // At first sight the key that signs now is enough; what came before it is nobody's word.
  const trusted = pinned ?? keys.at(-1)?.publicKey ?? null;
  const key = followRotations(origin, keys, trusted).at(-1) ?? Buffer.alloc(0);
  return { checkpoint: verifyCheckpoint(note, key), publicKey: key.toString('base64') };
}

function originOf(note: string): string {
  return note.slice(0, note.indexOf('\n'));
}

function contradiction(before: Checkpoint, now: Checkpoint): string | null {
  if (now.size < before.size)
    return `the audit log has ${now.size} entries; it had ${before.size} when this agent last saw it`;
  return now.size === before.size && now.head !== before.head
    ? `the audit log of ${now.size} entries is not the one that this agent saw`
    : null;
}

function parseKept(text: string): { readonly kept: KeptCheckpoints; readonly head: Checkpoint } {
  try {
    const kept = shape.parse(JSON.parse(text));
    return { kept, head: verifyCheckpoint(kept.checkpoint, Buffer.from(kept.publicKey, 'base64')) };
  } catch (cause) {
    throw new AgentError(
      'state_dir',
      'the file audit-checkpoint.json, with a checkpoint of the server’s audit log, is damaged: once you know why, remove it',
      { cause },
    );
  }
}
