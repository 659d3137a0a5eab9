import { hash } from 'node:crypto';
import { ToolError } from 'node-tpm2/run';
import type { FormattedMessage, KeptMessage, UnlockedMessage } from '../attest-server/wire/disk-messages.ts';
import type { OpenedByItself } from '../attest-server/wire/gate.ts';
import type { LastWords } from '../attest-server/wire/last-words.ts';
import { limits } from '../attest-server/wire/limits.ts';
import type {
  Activate,
  Challenge,
  ChangedMessage,
  ErrorMessage,
  Hello,
  RefusalMessage,
  ServerMessage,
  TrustsMessage,
  VerdictMessage,
} from '../attest-server/wire/messages.ts';
import { binaryFrame, protocolVersion, spokenWords } from '../attest-server/wire/messages.ts';
import { Rejection } from '../attest-server/wire/rejection.ts';
import type { Role } from '../attest-server/wire/roles.ts';
import { type ActivatingTpm, activate } from './activation.ts';
import { AgentError } from './agent-error.ts';
import type { Channel, ChannelEnd } from './channel.ts';
import { answer, type QuotingTpm, raced } from './evidence.ts';
import type { Identity } from './identity.ts';
import type { ReadNode } from './node-reader.ts';

/** The parts of the agent that one conversation needs. */
export interface ConversationParts {
  /** Default: the agent. */
  readonly role?: Role;
  readonly node: string;
  readonly program: string;
  readonly identity: Identity;
  /** Null on a machine without a usable TPM. */
  readonly tpm: (QuotingTpm & ActivatingTpm) | null;
  /** `<id>.<secret>`; null if none is to be shown. */
  readonly joinToken: string | null;
  /** The token of its service account in a cluster; null if none is to be shown. */
  readonly clusterToken: string | null;
  /** The latest checkpoint of the server's audit log; null before the first. */
  readonly checkpoint?: string | null;
  /** Digests of the authorities that are trusted for the server. */
  readonly authorities?: readonly string[];
  /** A key request for the answer to the challenge with this nonce; default none. */
  readonly keyRequest?: (nonce: Buffer) => Buffer | undefined;
  /** Reads the node, again for each answer. @throws AgentError `facts_unavailable` */
  readonly readNode: ReadNode;
  /** That of the channel. An answer that it cuts off is no fault, of the TPM neither. */
  readonly signal: AbortSignal;
  readonly on: ConversationEvents;
}

export interface ConversationEvents {
  readonly sent: (what: 'hello' | 'activated' | 'evidence' | 'evidence_raced') => void;
  readonly verdict: (verdict: VerdictMessage) => void;
  /** The first challenge came: the hello was taken, and the server hears what changed. */
  readonly accepted: () => void;
  /** The server has on its disk what was said of a lease. */
  readonly kept?: (message: KeptMessage) => void;
  /** A code that the server gave before it closes. */
  readonly refused: (message: RefusalMessage) => void;
  /** An answer that could not be given. */
  readonly fault: (error: unknown) => void;
}

export interface Conversation {
  /** Settles with the connection. */
  readonly closed: Promise<ChannelEnd>;
  /** "Something moved, challenge me now." Only once accepted, three times at once and once a second. */
  changed(what: string): void;
  /** Tells the server that its audit log is not the one that was seen before. */
  auditRollback(): void;
  /** Says which authorities are trusted for the server, after an announcement. */
  trusts(authorities: readonly string[]): void;
  /** Reports what became of a lease. */
  lease(report: UnlockedMessage | FormattedMessage): void;
  /** Tells the server that this gate opened by itself. */
  opened(opened: OpenedByItself): void;
}

/** Says hello and answers until the connection is over. */
export function startConversation(channel: Channel, parts: ConversationParts): Conversation {
  const { joinToken, clusterToken, on, tpm, signal } = parts;
  const hello = helloText(parts);
  const connection = { channel: channel.binding, helloDigest: hash('sha256', hello, 'hex') };

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
      if (!signal.aborted) on.fault(error);
      channel.close(error instanceof Rejection ? 1008 : 1011, codeOf(error), lastWordsOn(error));
    } finally {
      isBusy = false;
    }
  };
  const sendActivated = async (message: Activate) => {
    if (tpm === null) throw new Rejection('malformed', 'an activation for a machine without TPM');
    channel.send(JSON.stringify(await activate(tpm, message, connection)));
    on.sent('activated');
  };
  const sendEvidence = async (challenge: Challenge) => {
    if (tpm === null) throw new Rejection('malformed', 'a challenge for a machine without TPM');
    const frames = await parts
      .readNode({
        parts: challenge.parts,
        supplements: challenge.supplements ?? supplementsOf(challenge.files),
        paths: challenge.paths ?? [],
        local: challenge.local ?? false,
      })
      .then((node) => {
        const keyRequest = parts.keyRequest?.(Buffer.from(challenge.nonce, 'base64'));
        return answer(challenge, { ...node, ...connection, node: parts.node, keyRequest }, tpm);
      })
      .catch((error: unknown) => {
        if (!(error instanceof AgentError) || error.code !== 'facts_unavailable') throw error;
        if (!signal.aborted) on.fault(error);
        return null;
      });
    if (frames === null) {
      channel.send(JSON.stringify({ type: 'error', code: 'facts_unavailable' } satisfies ErrorMessage));
      return;
    }
    await channel.sendInTurn(frames);
    on.sent(frames === raced ? 'evidence_raced' : 'evidence');
  };

  let isAccepted = false;
  channel.listen((message: ServerMessage) => {
    if (message.type === 'verdict') on.verdict(message);
    else if (message.type === 'error') on.refused(message);
    else if (message.type === 'kept') on.kept?.(message);
    else {
      waiting = message;
      if (!isBusy) void work();
    }
    if (message.type !== 'challenge' || isAccepted) return;
    isAccepted = true;
    on.accepted();
  });
  channel.send(hello);
  if (joinToken !== null) channel.send(binaryFrame('joinToken', Buffer.from(joinToken)));
  if (clusterToken !== null) channel.send(binaryFrame('clusterToken', Buffer.from(clusterToken)));
  on.sent('hello');
  return {
    closed: channel.closed,
    auditRollback: () =>
      channel.send(JSON.stringify({ type: 'error', code: 'audit_rollback' } satisfies ErrorMessage)),
    trusts: (authorities) =>
      channel.send(JSON.stringify({ type: 'trusts', authorities: [...authorities] } satisfies TrustsMessage)),
    opened: (opened) => channel.send(JSON.stringify(opened)),
    lease: (report) => channel.send(JSON.stringify(report)),
    changed: (what) =>
      channel.send(JSON.stringify({ type: 'changed', what: what.slice(0, 64) } satisfies ChangedMessage)),
  };
}

function helloText(parts: ConversationParts): string {
  const { identity, checkpoint, authorities } = parts;
  const hello: Hello = {
    type: 'hello',
    versions: { protocol: [protocolVersion, protocolVersion], program: parts.program },
    role: parts.role ?? 'agent',
    node: parts.node,
    banks: identity.banks,
    ek: identity.ek,
    ak: identity.ak,
    joinToken: parts.joinToken !== null,
    speaks: [...spokenWords],
  };
  if (parts.clusterToken !== null) hello.clusterToken = true;
  if (checkpoint != null) hello.checkpoint = checkpoint;
  if (authorities !== undefined) hello.authorities = [...authorities];
  return JSON.stringify(hello);
}

/** As a server of 0.3.0 asks for them. */
function supplementsOf(files: Challenge['files']): NonNullable<Challenge['supplements']> {
  if (files === undefined) return {};
  return { loaderFiles: { of: files, from: 0, bootId: null, most: limits.filesInAnswer.bytes } };
}

function lastWordsOn(error: unknown): LastWords {
  if (error instanceof Rejection) return 'protocol';
  if (error instanceof ToolError) return 'tpm';
  return error instanceof AgentError && error.code === 'tpm_broker' ? 'tpm_broker' : 'failed';
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'failed';
}
