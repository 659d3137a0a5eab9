import { hash } from 'node:crypto';
import type { EvidenceOwner } from '../../evidence/held-by-node.ts';
import { type InitrdManifest, isImageOf } from '../../formats/initrd-manifest.ts';
import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { imageDigest, initrdsIn } from '../../verify/boot/initrd-components.ts';
import type { Verifier } from '../../verify/verifier.ts';
import type { Part } from '../../wire/evidence.ts';
import { initrdList, parseInitrdList } from '../../wire/initrd-list.ts';
import { limits } from '../../wire/limits.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { AnsweredSupplement, ArrivedSupplement, SupplementPlace } from '../../wire/supplements.ts';
import { ImageQueue, type UploadState } from './image-queue.ts';
import { KeptInitrds, type KeptParts } from './kept-initrds.ts';
import { type PartialImage, PartialImages, type PartialOptions } from './partial-images.ts';
import type {
  GivenSupplement,
  LackingAnswer,
  Supplement,
  SupplementFigures,
  TakenSupplement,
} from './supplement.ts';

export interface InitrdParts extends KeptParts, PartialOptions {
  /** The bytes of a list, or of a manifest, that evidence of this node may name; null if they are gone. */
  readPart(digest: string, node: string): Promise<Buffer | null>;
  readonly verifier: Pick<Verifier, 'missing'>;
  /** Milliseconds for an answer, and for which a verdict holds. */
  readonly answerWithin: number;
  readonly unknownAfter: number;
  /** Whether the node's share of the disk has room for so many bytes. */
  hasRoom(node: EvidenceOwner, bytes: number): Promise<boolean>;
  /** Has this node asked for its image. */
  called(node: string): void;
  /** Whether the rules of its group ask what is in its initrds. */
  isLookedInto(node: string): boolean;
}

/** Milliseconds for which a verdict waits at most for an image that has begun to come. */
const holdBack = 20_000;

/**
 * Gets the initrds that nodes booted, each once, and keeps what is in them: a node that booted the same image sends
 * nothing.
 */
export class Initrds implements Supplement {
  readonly name = 'initrds';
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
  open(): Promise<void> {
    return this.#kept.restore();
  }

  figures(): SupplementFigures {
    return { waiting: this.#queue.length, received: this.#received, kept: this.#kept.bytes };
  }

  close(): void {
    this.#queue.close();
    this.#partials.close();
  }

  ask(node: string): SupplementPlace | null {
    const digest = this.#queue.turnOf(node);
    return digest === null ? null : { of: [digest], from: this.#partials.bytesOf(digest), bootId: null };
  }

  held(node: string, digest: string | undefined): GivenSupplement | null | Promise<GivenSupplement | null> {
    if (digest === undefined || !this.#parts.isLookedInto(node)) return null;
    const named: Part = { digest, bytes: null };
    const isKnown = this.#parts.verifier.missing({ initrds: named }).length === 0;
    return isKnown ? { name: this.name, part: named, files: none } : this.#readHeld(node, digest);
  }

  take(
    lacking: LackingAnswer,
    answered: AnsweredSupplement | undefined,
    held: GivenSupplement | null,
  ): Promise<TakenSupplement> | null {
    const { name } = lacking.node;
    if (this.#parts.isLookedInto(name)) return this.#look(lacking, answered, held);
    this.#queue.waits(name, []);
    return null;
  }

  async #readHeld(node: string, digest: string): Promise<GivenSupplement | null> {
    const bytes = await this.#parts.readPart(digest, node);
    if (bytes === null) return null;
    return {
      name: this.name,
      part: { digest, bytes },
      files: await this.#read(node, parseInitrdList(bytes)),
    };
  }

  /** Takes what came, and says what is known of the boot's initrds. */
  async #look(
    lacking: LackingAnswer,
    answered: AnsweredSupplement | undefined,
    held: GivenSupplement | null,
  ): Promise<TakenSupplement> {
    const { proven } = lacking;
    const { name: node } = lacking.node;
    const boot = lacking.boot();
    const measured = boot === null ? [] : initrdsIn(boot.state).slice(0, limits.initrd.count);
    const turnOf = this.#queue.turnOf(node);
    const { asked = null, came = null } = answered ?? {};
    if (turnOf !== null && asked?.of[0] === turnOf) {
      const component = measured.find((one) => imageDigest(one) === turnOf);
      if (component !== undefined)
        if (came !== null)
          await this.#take({ name: node, ekDigest: proven.ekDigest ?? '' }, component, turnOf, came);
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
    this.#queue.waits(node, answered === undefined ? [] : missing);
    return this.#takenOf(node, missing, answered !== undefined, given);
  }

  /** Shared evidence is gone: an image that it belonged to is asked for again. */
  gone(_node: string, digests: readonly string[]): void {
    this.#kept.gone(digests);
  }

  forget(node: string): void {
    this.#queue.forget(node);
    this.#partials.forget(node);
  }

  #takenOf(
    node: string,
    missing: readonly string[],
    speaks: boolean,
    given: GivenSupplement | null,
  ): TakenSupplement {
    const [first] = missing;
    if (first === undefined) return { is: 'enough', given };
    if (!speaks) {
      const why = 'The agent is of a version that cannot send it: update it.';
      return { is: 'wait', given, why, asks: false };
    }
    const standings = missing.flatMap((digest) => this.#queue.standing(node, digest) ?? []);
    const sending = standings.find((one) => one.is === 'sending');
    const shown = sending ?? standings.find((one) => one.is === 'failed') ?? standings[0];
    const since = sending === undefined ? null : this.#parts.monotonic() - sending.since;
    // It began to send just now: its verdict can wait for that.
    if (since !== null && since < Math.min(holdBack, this.#parts.unknownAfter / 4)) return { is: 'more' };
    if (shown === undefined) return { is: 'enough', given };
    return { is: 'wait', given, why: textOf(shown), asks: since !== null };
  }

  async #take(
    owner: EvidenceOwner,
    component: BootComponent,
    digest: string,
    { from, more, pieces }: ArrivedSupplement,
  ): Promise<void> {
    const { name: node } = owner;
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

  /** Attack: half of a false image, left for others to continue. Only a node that sent all of it is to blame. */
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

  /** Drops the image first, so that the node with the next turn begins again. */
  #fail(node: string, digest: string, why: string): void {
    this.#partials.drop(digest);
    this.#queue.failed(node, digest, why);
  }

  async #given(
    node: string,
    measured: readonly BootComponent[],
    held: GivenSupplement | null,
  ): Promise<GivenSupplement | null> {
    for (;;) {
      const known = measured.flatMap((one) => this.#kept.of(one) ?? []);
      if (known.length === 0) return null;
      for (const one of known) await this.#kept.noteUse(one);
      const bytes = initrdList(known.map(({ manifest }) => manifest));
      const digest = hash('sha256', bytes, 'hex');
      if (digest === held?.part?.digest) return held;
      const part: Part = { digest, bytes };
      if (this.#parts.verifier.missing({ initrds: { digest, bytes: null } }).length === 0)
        return { name: this.name, part, files: none };
      const files = await this.#read(
        node,
        known.map(({ manifest }) => manifest),
      );
      const gone = known.filter(({ manifest }) => !files.has(manifest));
      if (gone.length === 0) return { name: this.name, part, files };
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

const none: ReadonlyMap<string, Buffer> = new Map();

function textOf(standing: UploadState): string {
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
