import { createECDH, type ECDH, hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ToolError, type Tpm } from 'node-tpm2';
import type {
  FormattedMessage,
  KeptMessage,
  UnlockedMessage,
} from '../../attest-server/wire/disk-messages.ts';
import { decryptVolumeKey } from '../../attest-server/wire/key-derivation.ts';
import {
  type KeyRelease,
  keyReleaseKind,
  mostKeyRelease,
  parseKeyRelease,
} from '../../attest-server/wire/key-release.ts';
import { keyAgreementCurve, keyRequestOf } from '../../attest-server/wire/key-request.ts';
import { headerFrame } from '../../attest-server/wire/messages.ts';
import { Rejection } from '../../attest-server/wire/rejection.ts';
import { AgentError } from '../agent-error.ts';
import { type Channel, openChannel } from '../channel.ts';
import { earlyCollectors } from '../collectors/early.ts';
import type { ServerAddress } from '../config.ts';
import { type Conversation, startConversation } from '../conversation.ts';
import { describeFault } from '../describe-fault.ts';
import type { Identity } from '../identity.ts';
import type { Logger } from '../logger.ts';
import { nodeReader } from '../node-reader.ts';
import { readTrust } from '../server-identity.ts';
import type { StateDir } from '../state-dir.ts';
import { readVersion } from '../version.ts';
import type { UnlockConfig } from './config.ts';

/** A key that the server gave to this boot, with what it said of it. The caller wipes `secret`. */
export interface ReleasedKey {
  readonly is: 'key';
  readonly release: KeyRelease;
  /** The key, 32 bytes; the recovery passphrase follows while the volume is to be formatted, and the next key while that replaces it. */
  readonly secret: Buffer;
}

/** Why the server gives none. */
export interface RefusedKey {
  readonly is: 'refused';
  readonly code: string;
}

export interface LeaseParts {
  readonly config: Pick<UnlockConfig, 'node' | 'caFile' | 'sysroot'>;
  /** LUKS UUID of the volume whose key is wanted; null: none is. */
  readonly volume: string | null;
  readonly tpm: Tpm;
  readonly identity: Identity;
  readonly state: StateDir;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

interface AskedKey {
  readonly own: ECDH;
  readonly nonce: Buffer;
  readonly keyRequest: Buffer;
}

/** A server that does not answer holds up the next one no longer, in milliseconds. */
const openWithinMs = 5_000;
/** How long a server that is connected may take for its answer, in milliseconds. */
const answeredWithin = 60_000;
/** Attempts to unseal where a PCR moves meanwhile. */
const attempts = 5;
/** For how long a refusal may be followed by another challenge, whose answer shows more, in milliseconds. */
const challengedAgainWithin = 3_000;

/** Refusals of this boot that no waiting heals. */
export const finalRefusals: ReadonlySet<string> = new Set([
  'lease_consumed',
  'lease_exhausted',
  'key_subject_mismatch',
  'identity_claim_mismatch',
]);

/** One connection in the role `unlock`: it asks for a key, or reports what became of one. */
export class LeaseConversation implements AsyncDisposable {
  readonly #parts: LeaseParts;
  readonly #channel: Channel;
  readonly #conversation: Conversation;
  readonly #answer = Promise.withResolvers<ReleasedKey | RefusedKey>();
  readonly #proven = Promise.withResolvers<void>();
  readonly #kept = new Map<KeptMessage['what'], PromiseWithResolvers<void>>();
  #asked: AskedKey | null = null;
  #isAnswered = false;
  #refusal: RefusedKey | null = null;

  private constructor(parts: LeaseParts, channel: Channel, digests: readonly string[]) {
    const { config, identity, tpm, logger, signal } = parts;
    this.#parts = parts;
    this.#channel = channel;
    for (const { promise } of [this.#answer, this.#proven]) promise.catch(() => {});
    this.#conversation = startConversation(channel, {
      role: 'unlock',
      node: config.node,
      program: readVersion(),
      identity,
      tpm,
      keyRequest: (nonce) => this.#ask(nonce),
      readNode: nodeReader(earlyCollectors(), config.sysroot, logger),
      joinToken: null,
      clusterToken: null,
      authorities: digests,
      signal,
      on: {
        sent: (what) => logger.debug({ code: `${what}_sent` }, 'sent'),
        accepted: () => {},
        verdict: ({ state, codes, keyRefusal }) => {
          logger.info({ code: 'verdict', state, codes, keyRefusal }, 'the server judged');
          this.#proven.resolve();
          if (keyRefusal !== undefined) this.#refused(keyRefusal);
        },
        kept: ({ what }) => this.#waitingFor(what).resolve(),
        refused: ({ code }) => {
          logger.warn({ code }, 'the server refused');
          this.#refusal = { is: 'refused', code };
        },
        fault: (error) => logger.error(describeFault(error), 'no answer was given'),
      },
    });
    const late = setTimeout(() => {
      const text = 'the server gave no answer in time';
      this.#answer.reject(new AgentError('channel_closed', text, { retryable: true }));
    }, answeredWithin);
    channel.closed.then(({ code }) => {
      clearTimeout(late);
      const why = this.refusal ?? code;
      const lost = new AgentError('channel_closed', `the server ended the connection: ${why}`, {
        retryable: true,
      });
      if (this.#refusal === null) this.#answer.reject(lost);
      else this.#answer.resolve(this.#refusal);
      this.#proven.reject(lost);
      for (const { reject } of this.#kept.values()) reject(lost);
    });
  }

  /** @throws AgentError, ToolError */
  static async open(server: ServerAddress, parts: LeaseParts): Promise<LeaseConversation> {
    const { config, state, signal } = parts;
    const trust = await readTrust({ caFile: config.caFile, joinToken: null, state }, server, signal);
    let conversation: LeaseConversation | null = null;
    const take = (payload: Buffer) => {
      if (conversation !== null) conversation.#take(payload);
    };
    const takes = new Map([[keyReleaseKind, { most: mostKeyRelease, take }]]);
    const channel = await openChannel({ server, authority: trust.pem, takes, signal, openWithinMs });
    conversation = new LeaseConversation(parts, channel, trust.digests);
    return conversation;
  }

  /** The key, or why there is none. @throws AgentError `channel_closed`; ToolError where the TPM does not unseal it */
  get answer(): Promise<ReleasedKey | RefusedKey> {
    return this.#answer.promise;
  }

  /** The code by which the server refused what was said last; null if it did not. */
  get refusal(): string | null {
    return this.#refusal?.code ?? null;
  }

  /** Resolves once the server has judged an answer on this connection. @throws AgentError `channel_closed` */
  get proven(): Promise<void> {
    return this.#proven.promise;
  }

  /** Resolves once the server has it on its disk. @throws AgentError `channel_closed` */
  async keepHeader(leaseId: string, header: Buffer): Promise<void> {
    const kept = this.#waitingFor('header');
    this.#channel.send(headerFrame(leaseId, header));
    await kept.promise;
  }

  /** Resolves once the server has written it down. @throws AgentError `channel_closed` */
  async report(message: UnlockedMessage | FormattedMessage): Promise<void> {
    const kept = this.#waitingFor(message.type);
    this.#conversation.lease(message);
    await kept.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#channel.close();
    await this.#channel.closed;
  }

  #waitingFor(what: KeptMessage['what']): PromiseWithResolvers<void> {
    const known = this.#kept.get(what);
    if (known !== undefined) return known;
    const waiting = Promise.withResolvers<void>();
    waiting.promise.catch(() => {});
    this.#kept.set(what, waiting);
    return waiting;
  }

  /** A request of its own for each challenge; none once the key is there, since each is counted. */
  #ask(nonce: Buffer): Buffer | undefined {
    const { volume } = this.#parts;
    if (volume === null || this.#isAnswered) return undefined;
    const own = createECDH(keyAgreementCurve);
    const keyRequest = keyRequestOf({ volume, ephemeral: own.generateKeys() });
    this.#asked = { own, nonce, keyRequest };
    return keyRequest;
  }

  #refused(code: string): void {
    this.#refusal = { is: 'refused', code };
    if (finalRefusals.has(code)) this.#answer.resolve(this.#refusal);
    sleep(challengedAgainWithin, undefined, { ref: false }).then(() => {
      if (this.#refusal !== null) this.#answer.resolve(this.#refusal);
    });
  }

  /** @throws Rejection for a release that was not asked for */
  #take(payload: Buffer): void {
    const asked = this.#asked;
    const release = parseKeyRelease(payload);
    if (asked === null || release.volume !== this.#parts.volume)
      throw new Rejection('malformed', 'a key that was not asked for', { field: 'volume' });
    this.#asked = null;
    this.#isAnswered = true;
    this.#refusal = null;
    this.#open(asked, release).then(
      (secret) => this.#answer.resolve({ is: 'key', release, secret }),
      (error: unknown) => this.#answer.reject(error),
    );
  }

  async #open({ own, nonce, keyRequest }: AskedKey, release: KeyRelease): Promise<Buffer> {
    const { config, identity } = this.#parts;
    const { volume, leaseId, resetCount, serverEphemeral: peer, ciphertext } = release;
    const ek = Buffer.from(identity.ek?.publicArea ?? '', 'base64');
    const sealed = await this.#unseal(release);
    try {
      return decryptVolumeKey(
        { sealed, own, peer, nonce },
        { ekDigest: hash('sha256', ek, 'hex'), node: config.node, volume, leaseId, resetCount, keyRequest },
        ciphertext,
      );
    } finally {
      sealed.fill(0);
    }
  }

  /** A PCR that is extended meanwhile, of IMA too, is no refusal. */
  async #unseal(release: KeyRelease): Promise<Buffer> {
    const { importPublic: publicArea, importDuplicate: duplicate, importSeed: seed } = release;
    for (let attempt = 1; ; attempt++)
      try {
        return await this.#parts.tpm.unsealDuplicate({ publicArea, duplicate, seed }, release);
      } catch (error) {
        const hasMoved = error instanceof ToolError && error.code === 'pcrs_moved';
        if (!hasMoved || attempt === attempts) throw error;
      }
  }
}
