import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import { lengthPrefixed, nonceBytes } from '../wire/binding.ts';
import type { FormattedMessage, UnlockedMessage } from '../wire/disk-messages.ts';
import type { Parts } from '../wire/evidence.ts';
import type { OpenedByItself } from '../wire/gate.ts';
import { parseKeyRequest } from '../wire/key-request.ts';
import { limits } from '../wire/limits.ts';
import {
  type BinaryKind,
  type Challenge,
  checkSpoken,
  checkVersions,
  type ErrorMessage,
  type EvidenceMessage,
  type Hello,
  type Introduction,
  knownWords,
  parseAgentMessage,
  parseBinaryFrame,
  parseHeaderFrame,
  parseSupplementFrame,
  type ServerMessage,
} from '../wire/messages.ts';
import { Rate } from '../wire/rate.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { roles } from '../wire/roles.ts';
import type { AnsweredSupplements } from '../wire/supplements.ts';
import { ArrivedParts } from './arrived-parts.ts';
import { ArrivedSupplements } from './arrived-supplements.ts';
import { bounds } from './bounds.ts';

/** Tokens that an agent shows besides its keys. */
export interface ShownTokens {
  /** `<id>.<secret>` of a join token. */
  readonly join: string | null;
  /** Of its service account in the cluster. */
  readonly cluster: string | null;
}

/** The listener's next action. */
export type Action =
  /** `frame`: a binary frame that follows. */
  | { readonly do: 'send'; readonly message: ServerMessage; readonly frame?: Buffer }
  /** Keep the header of a volume that the node formats, if the connection is proven. */
  | { readonly do: 'header'; readonly leaseId: string; readonly header: Buffer }
  /** Write down, if the connection is proven, that a volume is formatted, or open in a capped boot. */
  | { readonly do: 'lease'; readonly report: UnlockedMessage | FormattedMessage }
  /** Find out who this is; answer with `identified`, or refuse. */
  | { readonly do: 'identify'; readonly hello: Hello; readonly tokens: ShownTokens }
  /** The AK and the EK live in one TPM: bind them; answer with `enrolled`, or refuse. */
  | { readonly do: 'enrol' }
  /** The conversation stands, or the agent asks for it: challenge, `after` milliseconds at the latest. */
  | { readonly do: 'challenge'; readonly after: number }
  /** Remember which authorities this agent trusts for the server, once it has proven itself. */
  | { readonly do: 'trusts'; readonly authorities: readonly string[] }
  /** Judge this answer; `parts` are those that it names, with the bytes that were sent with it. */
  | {
      readonly do: 'judge';
      readonly evidence: EvidenceMessage;
      readonly nonce: Buffer;
      readonly challenge: Challenge;
      /** When it was challenged, by the monotonic clock. */
      readonly challengedAt: number;
      readonly parts: Parts;
      /** Supplements that the challenge asked for and that came. */
      readonly supplements: AnsweredSupplements;
      /** The bytes of a key request, which the quote signs. */
      readonly keyRequest: Buffer | undefined;
    }
  /** Say the code and close. */
  | { readonly do: 'refuse'; readonly code: ReasonCode; readonly text: string }
  /** Count it, if the connection is proven; the conversation goes on. */
  | { readonly do: 'note'; readonly code: ErrorMessage['code'] }
  /** Write down, if the connection is proven, that the gate opened by itself. */
  | { readonly do: 'opened'; readonly opened: OpenedByItself };

type Phase = 'hello' | 'tokens' | 'identifying' | 'activating' | 'enrolling' | 'open' | 'closed';

/** How many nonces of each kind a session remembers, to tell a stale or replayed one from one that never was. */
const remembered = 4;

/**
 * One agent's conversation: a state machine without I/O, clock or randomness. Every input gives the action that
 * follows from it, or none; after `refuse` nothing else does.
 */
export class Session {
  readonly #channel: Buffer;
  #phase: Phase = 'hello';
  #hello: Introduction | null = null;
  #helloDigest = '';
  #claimedEk: string | null = null;
  /** The whole of it and the tokens of it that came, while others are on the way. */
  #waiting: { readonly hello: Hello; readonly tokens: Partial<ShownTokens> } | null = null;
  #activationSecret: Buffer | null = null;
  #challenge: { readonly message: Challenge; readonly nonce: Buffer; readonly deadline: number } | null =
    null;
  /** Nonces of challenges that are over. */
  readonly #answered: string[] = [];
  readonly #stale: string[] = [];
  readonly #parts = new ArrivedParts();
  #supplements: ArrivedSupplements | null = null;
  /** A node that flaps cannot make the server challenge without end. */
  readonly #changes = new Rate(bounds.changes, 0);
  /** Of its gate, as told on this connection. */
  #openings = 0;
  #hasHeader = false;
  /** Until then a change is covered by the challenge that is to come for the one before. */
  #changeDue = 0;

  /** @param channel this TLS connection's exporter value */
  constructor(channel: Buffer) {
    this.#channel = channel;
  }

  get hello(): Introduction | null {
    return this.#hello;
  }
  get helloDigest(): string {
    return this.#helloDigest;
  }
  /** SHA-256 of the endorsement key that it showed, hex; null if it showed none. It proves nothing. */
  get claimedEk(): string | null {
    return this.#claimedEk;
  }
  get channel(): Buffer {
    return this.#channel;
  }
  /** Whether the endorsement and attestation keys are those of an enrolled node. */
  get open(): boolean {
    return this.#phase === 'open';
  }
  /** Whether a challenge waits for its answer. */
  awaiting(now: number): boolean {
    return this.#challenge !== null && now <= this.#challenge.deadline;
  }

  /** One frame, text or binary. @param now milliseconds of a monotonic clock */
  take(frame: string | Buffer, now: number): Action | null {
    if (this.#phase === 'closed') return null;
    try {
      return typeof frame === 'string' ? this.#onMessage(frame, now) : this.#onBinary(frame);
    } catch (error) {
      if (error instanceof Rejection) return this.refuse(error.code, error.message);
      throw error;
    }
  }

  /** `activation` is null if this EK and this AK are enrolled together already. */
  identified(
    activation: { readonly credential: Buffer; readonly encrypted: Buffer; readonly secret: Buffer } | null,
  ): Action | null {
    if (this.#phase !== 'identifying') return null;
    if (activation === null) return this.#opened();
    this.#phase = 'activating';
    this.#activationSecret = activation.secret;
    const credential = activation.credential.toString('base64');
    return {
      do: 'send',
      message: { type: 'activate', credential, secret: activation.encrypted.toString('base64') },
    };
  }

  enrolled(): Action | null {
    return this.#phase === 'enrolling' ? this.#opened() : null;
  }

  /** Asks for evidence over a fresh nonce; whatever was asked before is stale. */
  challenge(message: Challenge, nonce: Buffer, now: number): Action | null {
    if (this.#phase !== 'open') return null;
    if (this.#challenge !== null) note(this.#stale, this.#challenge.message.nonce);
    this.#challenge = { message, nonce, deadline: now + message.within };
    this.#forgetAnswer();
    this.#supplements = new ArrivedSupplements(message);
    return { do: 'send', message };
  }

  /** Ends the conversation: a deadline passed, or whoever judged refused. */
  refuse(code: ReasonCode, text: string): Action | null {
    if (this.#phase === 'closed') return null;
    this.#phase = 'closed';
    this.#activationSecret?.fill(0);
    this.#waiting = null;
    this.#forgetAnswer();
    return { do: 'refuse', code, text };
  }

  /** Drops the answer to a challenge that is over. */
  #forgetAnswer(): void {
    this.#parts.clear();
    this.#supplements = null;
  }

  #onBinary(frame: Buffer): Action | null {
    const { kind, payload } = parseBinaryFrame(frame);
    if (kind === 'joinToken' || kind === 'clusterToken') return this.#onToken(kind, payload);
    if (kind === 'header') return this.#onHeader(payload);
    this.#onPart(kind, payload);
    return null;
  }

  #onHeader(payload: Buffer): Action {
    this.#checkGetsKeys('send a header', 'kind');
    if (this.#phase !== 'open') throw unprovenReport();
    // Each is megabytes on the disk: another one costs a connection that proves itself.
    if (this.#hasHeader) throw outOfOrder('a second header');
    this.#hasHeader = true;
    return { do: 'header', ...parseHeaderFrame(payload) };
  }

  /** Each that the hello announces comes once. */
  #onToken(kind: 'joinToken' | 'clusterToken', payload: Buffer): Action | null {
    const which = kind === 'joinToken' ? 'join' : 'cluster';
    if (this.#waiting === null || which in this.#waiting.tokens || payload.length > limits.enrolmentToken)
      throw outOfOrder(`a ${which} token`);
    const { hello, tokens } = this.#waiting;
    return this.#identify(hello, { ...tokens, [which]: payload.toString('latin1') });
  }

  #onPart(kind: Exclude<BinaryKind, 'joinToken' | 'clusterToken' | 'header'>, payload: Buffer): void {
    const challenge = this.#challenge;
    if (this.#phase !== 'open' || challenge === null) throw outOfOrder('a part of evidence');
    if (kind === 'file' || kind === 'supplement') {
      const { name, piece } =
        kind === 'file' ? { name: 'loaderFiles' as const, piece: payload } : parseSupplementFrame(payload);
      this.#supplements?.add(name, piece);
      return;
    }
    this.#parts.add(payload);
  }

  #onMessage(text: string, now: number): Action | null {
    const message = parseAgentMessage(text);
    const role = this.#hello?.role;
    if (role !== undefined && !roles[role].sends.includes(message.type))
      throw new Rejection('role_denied', `the role ${role} may not send ${message.type}`, { field: 'type' });
    switch (message.type) {
      case 'hello':
        return this.#onHello(message, text);
      case 'activated':
        return this.#onActivated(message.proof);
      case 'evidence':
        return this.#onEvidence(message, now);
      case 'changed':
        return this.#onChanged(now);
      case 'trusts':
        if (this.#phase !== 'open') throw outOfOrder('trusts');
        return { do: 'trusts', authorities: message.authorities };
      case 'error':
        return this.#onError(message.code);
      case 'opened':
        return this.#onOpened(message);
      case 'unlocked':
      case 'formatted':
        if (this.#phase !== 'open') throw unprovenReport();
        return { do: 'lease', report: message };
    }
  }

  #onHello(hello: Hello, text: string): Action | null {
    if (this.#phase !== 'hello') throw outOfOrder('hello');
    checkVersions(hello.versions.protocol);
    const { ek, ak, joinToken, clusterToken, checkpoint, speaks, ...introduction } = hello;
    this.#hello = { ...introduction, speaks: knownWords(speaks) };
    this.#helloDigest = hash('sha256', text, 'hex');
    if (ek !== null) this.#claimedEk = hash('sha256', Buffer.from(ek.publicArea, 'base64'), 'hex');
    // People are told which node it is.
    checkSpoken(this.#hello.speaks);
    return this.#identify(hello, {
      ...(!joinToken && { join: null }),
      ...(clusterToken !== true && { cluster: null }),
    });
  }

  /** Once all is there that the hello announces. */
  #identify(hello: Hello, { join, cluster }: Partial<ShownTokens>): Action | null {
    if (join === undefined || cluster === undefined) {
      this.#phase = 'tokens';
      this.#waiting = {
        hello,
        tokens: { ...(join !== undefined && { join }), ...(cluster !== undefined && { cluster }) },
      };
      return null;
    }
    this.#phase = 'identifying';
    this.#waiting = null;
    return { do: 'identify', hello, tokens: { join, cluster } };
  }

  #onActivated(proof: string): Action | null {
    if (this.#phase !== 'activating' || this.#activationSecret === null) throw outOfOrder('activated');
    const expected = activationProof(this.#activationSecret, this.#channel, this.#helloDigest);
    this.#activationSecret.fill(0);
    this.#activationSecret = null;
    if (!timingSafeEqual(expected, Buffer.from(proof, 'hex')))
      throw new Rejection(
        'identity_unproven',
        'the credential was not activated by the TPM that holds both keys',
      );
    this.#phase = 'enrolling';
    return { do: 'enrol' };
  }

  #opened(): Action | null {
    this.#phase = 'open';
    return { do: 'challenge', after: 0 };
  }

  #onEvidence(evidence: EvidenceMessage, now: number): Action | null {
    if (this.#phase !== 'open')
      throw new Rejection('identity_unproven', 'evidence before the endorsement key was proven');
    const keyRequest = this.#keyRequestOf(evidence);
    const challenge = this.#challenge;
    if (challenge === null || challenge.message.nonce !== evidence.nonce)
      throw this.#notAsked(evidence.nonce);
    // Consumed at first receipt, whatever comes of it.
    note(this.#answered, evidence.nonce);
    this.#challenge = null;
    if (now > challenge.deadline) throw new Rejection('nonce_stale', 'the answer came after its deadline');
    const { nonce, message, deadline } = challenge;
    const parts = this.#parts.takeNamed(evidence, message.parts);
    const challengedAt = deadline - message.within;
    const speaks = this.#hello?.speaks ?? [];
    const supplements = this.#supplements?.answered(evidence, message, speaks) ?? {};
    this.#forgetAnswer();
    return { do: 'judge', evidence, nonce, challenge: message, challengedAt, parts, supplements, keyRequest };
  }

  /** Attack: root on a running node asks for the key of its disk in the name of the agent. */
  #keyRequestOf({ keyRequest }: EvidenceMessage): Buffer | undefined {
    if (keyRequest === undefined) return undefined;
    this.#checkGetsKeys('ask for a key', 'keyRequest');
    const bytes = Buffer.from(keyRequest, 'base64');
    parseKeyRequest(bytes);
    return bytes;
  }

  /** @throws Rejection `role_denied` */
  #checkGetsKeys(what: string, field: string): void {
    const role = this.#hello?.role;
    if (role === undefined || !roles[role].gets.includes('keyRelease'))
      throw new Rejection('role_denied', `the role ${role} may not ${what}`, { field });
  }

  #notAsked(nonce: string): Rejection {
    if (this.#answered.includes(nonce))
      return new Rejection('nonce_replayed', 'this nonce was answered before');
    if (this.#stale.includes(nonce))
      return new Rejection('nonce_stale', 'this nonce is of an older challenge');
    return new Rejection('nonce_invalid', `not a nonce of this conversation (${nonceBytes} bytes of base64)`);
  }

  #onChanged(now: number): Action | null {
    if (this.#phase !== 'open') throw outOfOrder('changed');
    if (now < this.#changeDue) return null;
    const after = this.#changes.reserve(now);
    this.#changeDue = now + after;
    return { do: 'challenge', after };
  }

  #onOpened(opened: OpenedByItself): Action | null {
    if (this.#phase !== 'open') throw unprovenReport();
    // One of this boot, and one that it could not tell before: each is an entry of the audit log.
    if (++this.#openings > 2) throw outOfOrder('opened');
    return { do: 'opened', opened };
  }

  #onError(code: ErrorMessage['code']): Action | null {
    if (this.#phase !== 'open') throw unprovenReport();
    // That one is about us, and no answer to a challenge.
    if (code === 'audit_rollback') return { do: 'note', code };
    if (this.#challenge !== null) note(this.#answered, this.#challenge.message.nonce);
    this.#challenge = null;
    this.#forgetAnswer();
    return { do: 'note', code };
  }
}

/** HMAC-SHA256(secret, P("assay/activated/1") P(channel) P(helloDigest)): the secret itself never travels. */
export function activationProof(secret: Buffer, channel: Buffer, helloDigest: string): Buffer {
  return createHmac('sha256', secret)
    .update(lengthPrefixed([activationLabel, channel, Buffer.from(helloDigest, 'hex')]))
    .digest();
}

const activationLabel = Buffer.from('assay/activated/1');

function note(nonces: string[], nonce: string): void {
  nonces.push(nonce);
  if (nonces.length > remembered) nonces.shift();
}

/** Attack: who has proven nothing reports something in a node's name. */
export function unprovenReport(): Rejection {
  return new Rejection('identity_unproven', 'a report before anything is proven', { field: 'type' });
}

function outOfOrder(what: string): Rejection {
  return new Rejection('malformed', `${what} out of order`, { field: 'type' });
}
