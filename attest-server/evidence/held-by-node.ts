import type { AuditEvent } from '../formats/audit.ts';
import { Rejection } from '../wire/rejection.ts';
import { namedDigests, namingBlobs } from './named-digests.ts';
import type { EvidenceStore, HeldEvidence } from './ports.ts';

/** Whose evidence it is. */
export interface EvidenceOwner {
  readonly name: string;
  readonly ekDigest: string;
}

export interface HeldParts {
  readonly store: Pick<EvidenceStore, 'held' | 'settledOf' | 'giveWay' | 'eraseHeld'>;
  /** Bytes that may be kept of one node, of all kinds together. */
  readonly share: number;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Monotonic milliseconds. */
  monotonic(): number;
}

/** Most bytes that keys, PCR values and the answer itself take. */
const perAnswer = 128 * 1024;
/** As much gives way at once as makes room for many answers: to find it takes time. */
const roomMade = 1 / 8;
/** The store is asked again after so many answers, so that the estimate stays close to what is held. */
const answersPerLook = 16;
/** Milliseconds until the next search for evidence that may give way, if the last one found none. */
const lookAgainAfter = 600_000;

/** Latest reply of the store about one node, so that most answers need not ask it. */
interface StoreCount {
  /** Bytes that were held then. */
  readonly held: number;
  /** Bytes that may be on their way to the disk. */
  promised: number;
  answers: number;
}

/**
 * Evidence of one node takes a bounded part of the disk, whatever kinds of it there are and however often it boots. The
 * store counts it with each write, so that a restarted server knows it. Above the bound, the node's own latest evidence
 * gives way, except the evidence behind its present verdict, and that by which it became untrusted.
 */
export class HeldByNode {
  readonly #parts: HeldParts;
  readonly #listeners: ((digests: readonly string[], node: string) => void)[] = [];
  /** By the endorsement key. */
  readonly #looks = new Map<string, StoreCount>();
  /** By the endorsement key: bytes for which not enough was found that may give way, and when. */
  readonly #stuck = new Map<string, { readonly least: number; readonly at: number }>();

  constructor(parts: HeldParts) {
    this.#parts = parts;
  }

  /** Bytes that may be kept of one node. */
  get most(): number {
    return this.#parts.share;
  }

  /** Called for shared evidence that is gone, and that this node alone held. */
  onGone(listener: (digests: readonly string[], node: string) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Whether an answer of this node may be kept, with this many bytes besides its document; older evidence of it gives
   * way. To be asked when no other answer of it is being judged.
   * @param naming gives digests of what it names, and which may be kept already
   */
  async hasRoom(node: EvidenceOwner, bytes: number, naming: () => Iterable<string>): Promise<boolean> {
    const { store, share, monotonic } = this.#parts;
    const { ekDigest } = node;
    const needed = bytes + perAnswer;
    const look = this.#looks.get(ekDigest);
    const promised = look?.promised ?? 0;
    const most = (look?.held ?? 0) + promised + (look?.answers ?? 0) * perAnswer + needed;
    if (look !== undefined && look.answers < answersPerLook && most <= share) {
      look.promised += bytes;
      look.answers += 1;
      return true;
    }
    const written = await store.held(ekDigest);
    if (written + promised + needed <= share) {
      this.#looks.set(ekDigest, { held: written, promised: promised + bytes, answers: 1 });
      return true;
    }
    const held = await this.#held(node);
    if (held + needed <= share) {
      this.#looks.set(ekDigest, { held, promised: bytes, answers: 1 });
      return true;
    }
    const least = held + needed - share;
    const stuck = this.#stuck.get(ekDigest);
    // Attack: a node whose share is full has all of it looked through with each answer, each a byte shorter than the one before.
    if (stuck !== undefined && least > stuck.least / 2 && monotonic() < stuck.at + lookAgainAfter)
      return false;
    const gone = await store.giveWay({
      ...this.#of(node, 'server'),
      naming: naming(),
      least,
      free: least + share * roomMade,
    });
    this.#tell(gone, node);
    const left = await this.#held(node);
    const isRoom = left + needed <= share;
    if (isRoom) {
      this.#stuck.delete(ekDigest);
      this.#looks.set(ekDigest, { held: left, promised: bytes, answers: 1 });
    } else this.#stuck.set(ekDigest, { least, at: monotonic() });
    return isRoom;
  }

  full(node: string): Rejection {
    return new Rejection(
      'too_large',
      `what is kept of ${node} fills its share of the disk, ${this.#parts.share} bytes: assay enrol revoke ${node} --erase-evidence frees it`,
    );
  }

  /** Erases all evidence of a TPM that is no node any more. @returns how much it held, in bytes */
  async erase(node: EvidenceOwner, actor: string): Promise<number> {
    const before = await this.#held(node);
    this.#tell(await this.#parts.store.eraseHeld(this.#of(node, actor)), node);
    this.#stuck.delete(node.ekDigest);
    return before - (await this.#held(node));
  }

  /** Its TPM is no node any more, or its record is archived. */
  forget(ekDigest: string): void {
    this.#looks.delete(ekDigest);
    this.#stuck.delete(ekDigest);
  }

  /** With what was on its way to the disk. */
  async #held({ name, ekDigest }: EvidenceOwner): Promise<number> {
    const { store } = this.#parts;
    await store.settledOf(name);
    this.#looks.delete(ekDigest);
    return store.held(ekDigest);
  }

  #tell(digests: readonly string[], { name }: EvidenceOwner): void {
    if (digests.length > 0) for (const listener of this.#listeners) listener(digests, name);
  }

  #of({ name, ekDigest }: EvidenceOwner, actor: string): HeldEvidence {
    return {
      node: name,
      ekDigest,
      named: namedDigests,
      lists: namingBlobs,
      event: (digests): AuditEvent => ({
        at: this.#parts.now(),
        actor,
        action: 'evidence_erased',
        subject: name,
        code: 'evidence_erased',
        detail: { count: digests.length, digests: digests.join(' ') },
      }),
    };
  }
}
