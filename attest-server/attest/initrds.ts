import { hash } from 'node:crypto';
import type { ArrivedImage } from '../channel/arrived-pieces.ts';
import type { EvidenceOwner } from '../evidence/held-by-node.ts';
import type { Part } from '../protocol/evidence.ts';
import { initrdList, parseInitrdList } from '../protocol/initrd-list.ts';
import { type InitrdManifest, isImageOf } from '../protocol/initrd-manifest.ts';
import { limits } from '../protocol/limits.ts';
import type { ImagePlace } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { BootComponent } from '../verify/boot/boot-state.ts';
import { imageDigest, initrdsIn } from '../verify/boot/initrd-components.ts';
import type { Proven } from '../verify/proven.ts';
import type { Verifier } from '../verify/verifier.ts';
import { ImageQueue, type Standing } from './image-queue.ts';
import { KeptInitrds, type KeptParts } from './kept-initrds.ts';
import { type PartialImage, PartialImages, type PartialOptions } from './partial-images.ts';

export interface InitrdParts extends KeptParts, PartialOptions {
  /** The bytes of a list, or of a manifest, that evidence of this node may name; null where they are gone. */
  readPart(digest: string, node: string): Promise<Buffer | null>;
  readonly verifier: Pick<Verifier, 'missing'>;
  /** Milliseconds for an answer, and for which a verdict holds. */
  readonly answerWithin: number;
  readonly unknownAfter: number;
  /** Whether the node's share of the disk has room for so many bytes. */
  hasRoom(node: EvidenceOwner, bytes: number): Promise<boolean>;
  /** Has this node asked for its image. */
  called(node: string): void;
}

/** What is known of the initrds that a node booted. */
export interface GivenInitrds {
  /** The part that lists manifests; null where there is none. */
  readonly list: Part | null;
  /** By SHA-256, packed, where the verifier needs them. */
  readonly manifests: ReadonlyMap<string, Buffer>;
}

export const noInitrds: GivenInitrds = { list: null, manifests: new Map() };

/** What an answer said of the image that its challenge asked for. */
export interface ImageAnswer {
  /** Its agent understands to be asked. */
  readonly speaks: boolean;
  /** Its digest; null where none was asked for. */
  readonly asked: string | null;
  readonly came: ArrivedImage | null;
}

/** For whoever watches. */
export interface InitrdFigures {
  /** Images that nodes booted and the server does not have, also those that are being sent. */
  readonly waiting: number;
  /** Bytes of images that came since the start, and of what is kept of all. */
  readonly received: number;
  readonly kept: number;
}

export interface Looked {
  readonly given: GivenInitrds;
  /** Why one of them is not known, for a person; null where all are. */
  readonly wait: string | null;
  /** The node is to be asked for more at once. */
  readonly more: boolean;
  /** It began to send just now: its verdict can wait for that. */
  readonly isNew: boolean;
}

/** Milliseconds for which a verdict waits at most for an image that has begun to come. */
const holdBack = 20_000;

/**
 * Gets the initrds that nodes booted, each once, and keeps what is in them: a node that booted the same image sends
 * nothing.
 */
export class Initrds {
  readonly #parts: InitrdParts;
  readonly #queue: ImageQueue;
  readonly #kept: KeptInitrds;
  readonly #partials: PartialImages;
  #received = 0;

  constructor(parts: InitrdParts) {
    this.#parts = parts;
    this.#kept = new KeptInitrds(parts);
    this.#partials = new PartialImages(parts);
    const { uploads, answerWithin, unknownAfter } = parts;
    this.#queue = new ImageQueue({
      atOnce: uploads,
      patience: answerWithin * 1.5 + 1_000,
      aliveFor: unknownAfter,
      monotonic: () => parts.monotonic(),
      called: (node) => parts.called(node),
    });
  }

  /** Goes on with what is kept. */
  restore(): Promise<void> {
    return this.#kept.restore();
  }

  figures(): InitrdFigures {
    return { waiting: this.#queue.length, received: this.#received, kept: this.#kept.bytes };
  }

  close(): void {
    this.#queue.close();
    this.#partials.close();
  }

  /** What the node's challenge is to ask for; null where it is not its turn. */
  ask(node: string): ImagePlace | null {
    const digest = this.#queue.turnOf(node);
    return digest === null ? null : { digest, from: this.#partials.bytesOf(digest) };
  }

  /** What this node's boot was judged by before; nothing is read where the verifier remembers it. */
  async heldFor(node: string, digest: string): Promise<GivenInitrds> {
    const named: Part = { digest, bytes: null };
    if (this.#parts.verifier.missing({ initrds: named }).length === 0)
      return { list: named, manifests: noInitrds.manifests };
    const bytes = await this.#parts.readPart(digest, node);
    if (bytes === null) return noInitrds;
    return { list: { digest, bytes }, manifests: await this.#read(node, parseInitrdList(bytes)) };
  }

  /** Takes what came, and says what is known of the boot's initrds. @param held as of `heldFor` */
  async look(node: string, proven: Proven, answer: ImageAnswer, held: GivenInitrds): Promise<Looked> {
    const measured = proven.boot === null ? [] : initrdsIn(proven.boot.state).slice(0, limits.initrd.count);
    const turnOf = this.#queue.turnOf(node);
    if (turnOf !== null && answer.asked === turnOf) {
      const component = measured.find((one) => imageDigest(one) === turnOf);
      if (component !== undefined)
        if (answer.came !== null)
          await this.#take({ name: node, ekDigest: proven.ekDigest ?? '' }, component, answer.came);
        else
          this.#queue.failed(
            node,
            turnOf,
            proven.facts?.unavailable?.initrd ?? 'its agent sent nothing of it',
          );
    }
    const given = await this.#given(node, measured, held);
    const missing = measured
      .filter((one) => this.#kept.of(one) === null)
      .flatMap((one) => imageDigest(one) ?? []);
    this.#queue.waits(node, answer.speaks ? missing : []);
    return { given, ...this.#waitOf(node, missing, answer.speaks) };
  }

  /** Nobody asks what it booted. */
  leave(node: string): void {
    this.#queue.waits(node, []);
  }

  /** Of shared evidence that is gone: an image of which it was asks to be sent again. */
  gone(digests: readonly string[]): void {
    this.#kept.gone(digests);
  }

  forget(node: string): void {
    this.#queue.forget(node);
    this.#partials.forget(node);
  }

  #waitOf(node: string, missing: readonly string[], speaks: boolean): Omit<Looked, 'given'> {
    const [first] = missing;
    if (first === undefined) return { wait: null, more: false, isNew: false };
    if (!speaks) {
      const wait = 'The agent is of a version that cannot send it: update it.';
      return { wait, more: false, isNew: false };
    }
    const standings = missing.flatMap((digest) => this.#queue.standing(node, digest) ?? []);
    const sending = standings.find((one) => one.is === 'sending');
    const shown = sending ?? standings.find((one) => one.is === 'failed') ?? standings[0];
    const since = sending === undefined ? null : this.#parts.monotonic() - sending.since;
    return {
      wait: shown === undefined ? null : textOf(shown),
      more: since !== null,
      isNew: since !== null && since < Math.min(holdBack, this.#parts.unknownAfter / 4),
    };
  }

  async #take(owner: EvidenceOwner, component: BootComponent, came: ArrivedImage): Promise<void> {
    const { name: node } = owner;
    const { digest, from, more, pieces } = came;
    const partial = this.#partials.of(node, digest, (other) => this.#queue.isSent(other));
    if (partial === null) return this.#fail(node, digest, 'this node has sent many images of late');
    // Another node went on with it meanwhile: what this one has to send next is said by `ask`.
    if (partial.isRead || partial.bytes !== from) return;
    this.#queue.moved(
      digest,
      pieces.reduce((sum, { length }) => sum + length, 0),
    );
    partial.timer.refresh();
    partial.by.add(node);
    partial.isRead = true;
    let isWell = false;
    try {
      for (const piece of pieces) {
        partial.bytes += piece.length;
        this.#received += piece.length;
        if (partial.bytes > limits.initrd.image) {
          this.#fail(node, digest, `it is longer than the ${limits.initrd.image} bytes that are looked into`);
          return;
        }
        await partial.reader.push(piece);
      }
      isWell = more;
      if (more) return;
      const { manifest, bytes } = await partial.reader.end();
      if (isImageOf(manifest.image, component)) await this.#keep(owner, digest, manifest, bytes);
      else this.#otherDigest(node, digest, partial);
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      this.#fail(node, digest, error.message);
    } finally {
      partial.isRead = false;
      if (!isWell) this.#partials.drop(digest);
    }
  }

  /** Attack: half an image that is none, left for others to go on from. Whoever sent all of it himself is to blame. */
  #otherDigest(node: string, digest: string, { by }: PartialImage): void {
    const why =
      'what was sent of it has another digest than the one measured; was the file changed since the boot?';
    this.#partials.drop(digest);
    for (const sender of by) if (by.size === 1 || sender !== node) this.#queue.failed(sender, digest, why);
  }

  async #keep(owner: EvidenceOwner, digest: string, manifest: InitrdManifest, bytes: Buffer): Promise<void> {
    const { name: node } = owner;
    if (bytes.length > limits.initrd.manifest) {
      this.#fail(node, digest, `what is in it takes ${bytes.length} bytes, more than are kept of one`);
      return;
    }
    if (!(await this.#parts.hasRoom(owner, bytes.length))) {
      this.#fail(node, digest, 'what is kept of this node fills its share of the disk');
      return;
    }
    if (await this.#kept.keep(manifest, bytes, owner.ekDigest)) this.#queue.done(digest);
    else
      this.#fail(
        node,
        digest,
        `what is in initrds takes ${this.#parts.mostBytes} bytes (initrdManifestsMiB): there is no room`,
      );
  }

  /** Dropped first: whoever has the next turn is to begin anew. */
  #fail(node: string, digest: string, why: string): void {
    this.#partials.drop(digest);
    this.#queue.failed(node, digest, why);
  }

  async #given(node: string, measured: readonly BootComponent[], held: GivenInitrds): Promise<GivenInitrds> {
    for (;;) {
      const known = measured.flatMap((one) => this.#kept.of(one) ?? []);
      if (known.length === 0) return noInitrds;
      for (const one of known) await this.#kept.noteUse(one);
      const bytes = initrdList(known.map(({ manifest }) => manifest));
      const digest = hash('sha256', bytes, 'hex');
      if (digest === held.list?.digest) return held;
      if (this.#parts.verifier.missing({ initrds: { digest, bytes: null } }).length === 0)
        return { list: { digest, bytes }, manifests: noInitrds.manifests };
      const manifests = await this.#read(
        node,
        known.map(({ manifest }) => manifest),
      );
      const gone = known.filter(({ manifest }) => !manifests.has(manifest));
      if (gone.length === 0) return { list: { digest, bytes }, manifests };
      // Nothing named it for long, and it is kept no more: the image comes again.
      for (const one of gone) await this.#kept.forget(one);
    }
  }

  async #read(node: string, digests: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
    const manifests = new Map<string, Buffer>();
    for (const digest of digests) {
      const bytes = await this.#parts.readPart(digest, node);
      if (bytes !== null) manifests.set(digest, bytes);
    }
    return manifests;
  }
}

function textOf(standing: Standing): string {
  switch (standing.is) {
    case 'sending':
      return 'It is being sent.';
    case 'shared':
      return `${standing.by}, which booted the same one, is sending it.`;
    case 'waiting':
      return `It waits to be sent: place ${standing.place} of ${standing.of}.`;
    case 'failed':
      return `It could not be had: ${standing.why}. It is asked for again in ${minutes(standing.again)}.`;
  }
}

function minutes(time: number): string {
  const count = Math.ceil(time / 60_000);
  return count === 1 ? 'a minute' : `${count} minutes`;
}
