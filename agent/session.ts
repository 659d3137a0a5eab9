import { hash } from 'node:crypto';
import type {
  Activate,
  Challenge,
  ErrorMessage,
  Hello,
  ServerMessage,
  TrustsMessage,
  VerdictMessage,
} from '../attest-server/protocol/messages.ts';
import { binaryFrame, protocolVersion } from '../attest-server/protocol/messages.ts';
import { Rejection } from '../attest-server/protocol/rejection.ts';
import { type ActivatingTpm, activate } from './activation.ts';
import { AgentError } from './agent-error.ts';
import type { Channel, Closed } from './channel.ts';
import { answer, type QuotingTpm, raced } from './evidence.ts';
import type { Identity } from './identity.ts';
import type { ReadNode } from './node-reader.ts';

/** What one conversation needs of the agent. */
export interface SessionParts {
  readonly node: string;
  readonly program: string;
  readonly identity: Identity;
  /** Null on a machine without a usable TPM. */
  readonly tpm: (QuotingTpm & ActivatingTpm) | null;
  /** `<id>.<secret>`; null where none is to be shown. */
  readonly joinToken: string | null;
  /** The latest checkpoint of the server's audit log; null before the first. */
  readonly checkpoint?: string | null;
  /** Digests of the authorities that are trusted for the server. */
  readonly authorities?: readonly string[];
  /** What the node is, read anew for each answer. @throws AgentError `facts_unavailable` */
  readonly readNode: ReadNode;
  readonly on: SessionEvents;
}

export interface SessionEvents {
  readonly sent: (what: 'hello' | 'activated' | 'evidence' | 'evidence_raced') => void;
  readonly verdict: (verdict: VerdictMessage) => void;
  /** A code that the server gave before it closes. */
  readonly refused: (message: ErrorMessage) => void;
  /** An answer that could not be given. */
  readonly fault: (error: unknown) => void;
}

export interface Session {
  /** Settles with the connection. */
  readonly closed: Promise<Closed>;
  /** "Something moved, challenge me now." */
  changed(what: string): void;
  /** Tells the server that its audit log is not the one that was seen before. */
  auditRollback(): void;
  /** Says which authorities are trusted for the server, after an announcement. */
  trusts(authorities: readonly string[]): void;
}

/** Says hello and answers until the connection is over. */
export function startSession(channel: Channel, parts: SessionParts): Session {
  const { identity, joinToken, on, tpm } = parts;
  const hello = JSON.stringify({
    type: 'hello',
    versions: { protocol: [protocolVersion, protocolVersion], program: parts.program },
    role: 'agent',
    node: parts.node,
    banks: identity.banks,
    ek: identity.ek,
    ak: identity.ak,
    joinToken: joinToken !== null,
    ...(parts.checkpoint != null && { checkpoint: parts.checkpoint }),
    ...(parts.authorities && { authorities: [...parts.authorities] }),
  } satisfies Hello);
  const session = { channel: channel.binding, helloDigest: hash('sha256', hello, 'hex') };

  // One answer at a time; a newer question replaces one that still waits, so a flood costs one place.
  let waiting: Activate | Challenge | null = null;
  let isBusy = false;
  const work = async () => {
    isBusy = true;
    try {
      while (waiting !== null) {
        const message = waiting;
        waiting = null;
        if (message.type === 'activate') await sendActivated(message);
        else await sendEvidence(message);
      }
    } catch (error) {
      on.fault(error);
      channel.close(error instanceof Rejection ? 1008 : 1011, codeOf(error));
    } finally {
      isBusy = false;
    }
  };
  const sendActivated = async (message: Activate) => {
    if (tpm === null) throw new Rejection('malformed', 'an activation for a machine without TPM');
    channel.send(JSON.stringify(await activate(tpm, message, session)));
    on.sent('activated');
  };
  const sendEvidence = async (challenge: Challenge) => {
    if (tpm === null) throw new Rejection('malformed', 'a challenge for a machine without TPM');
    const frames = await parts
      .readNode()
      .then((node) => answer(challenge, { ...node, ...session, node: parts.node }, tpm))
      .catch((error: unknown) => {
        if (!(error instanceof AgentError) || error.code !== 'facts_unavailable') throw error;
        on.fault(error);
        return null;
      });
    if (frames === null) {
      channel.send(JSON.stringify({ type: 'error', code: 'facts_unavailable' } satisfies ErrorMessage));
      return;
    }
    channel.send(...frames);
    on.sent(frames === raced ? 'evidence_raced' : 'evidence');
  };

  channel.listen((message: ServerMessage) => {
    if (message.type === 'verdict') on.verdict(message);
    else if (message.type === 'error') on.refused(message);
    else {
      waiting = message;
      if (!isBusy) void work();
    }
  });
  channel.send(hello);
  if (joinToken !== null) channel.send(binaryFrame('joinToken', Buffer.from(joinToken)));
  on.sent('hello');
  return {
    closed: channel.closed,
    auditRollback: () =>
      channel.send(JSON.stringify({ type: 'error', code: 'audit_rollback' } satisfies ErrorMessage)),
    trusts: (authorities) =>
      channel.send(JSON.stringify({ type: 'trusts', authorities: [...authorities] } satisfies TrustsMessage)),
    changed: limitRate((what) => channel.send(JSON.stringify({ type: 'changed', what: what.slice(0, 64) }))),
  };
}

/** The server takes one `changed` a second, three at once; more would end the connection. */
function limitRate(say: (what: string) => void): (what: string) => void {
  let credit = 3;
  let at = performance.now();
  return (what) => {
    const now = performance.now();
    credit = Math.min(3, credit + (now - at) / 1_000);
    at = now;
    if (credit < 1) return;
    credit -= 1;
    say(what);
  };
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'failed';
}
