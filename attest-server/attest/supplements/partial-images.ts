import type { InitrdManifest } from '../../formats/initrd-manifest.ts';
import { Rate } from '../../wire/rate.ts';

export interface ImageReader {
  /** @throws Rejection */
  push(piece: Buffer): Promise<void>;
  /** The manifest, and its packed bytes. @throws Rejection */
  end(): Promise<{ readonly manifest: InitrdManifest; readonly bytes: Buffer }>;
  /** The rest will not come. */
  close(): void;
}

export interface PartialOptions {
  /** Reads an image as it comes, in steps of some milliseconds. */
  reader(): ImageReader;
  /** Images that are sent at a time, over all nodes. */
  readonly uploads: number;
  /** Monotonic milliseconds. */
  monotonic(): number;
}

/** An image that came in part. */
export interface PartialImage {
  readonly reader: ImageReader;
  bytes: number;
  /** Who sent of it. */
  readonly by: Set<string>;
  /** Until it is held no longer. */
  readonly timer: NodeJS.Timeout;
  /** The bytes that came are being read. */
  isRead: boolean;
}

/** Milliseconds for which a part of an image is held when nothing follows. */
const heldFor = 300_000;
/** Images of one node: so many at once, and so many an hour. */
const perNode = { burst: 8, perSecond: 1 / 3600 };

/** The images that have begun to come: as many as are sent at a time, whoever goes on with them. */
export class PartialImages {
  readonly #options: PartialOptions;
  /** By digest. */
  readonly #images = new Map<string, PartialImage>();
  /** By node. */
  readonly #rates = new Map<string, Rate>();

  constructor(options: PartialOptions) {
    this.#options = options;
  }

  /** How much of it is here. */
  bytesOf(digest: string): number {
    return this.#images.get(digest)?.bytes ?? 0;
  }

  /**
   * The partial image, begun if nothing of it is here; null if the node has begun its share.
   * @param isSent whether somebody's turn it is to send that one: it gives way last
   */
  of(node: string, digest: string, isSent: (digest: string) => boolean): PartialImage | null {
    const known = this.#images.get(digest);
    if (known !== undefined) return known;
    const now = this.#options.monotonic();
    const rate = this.#rates.get(node) ?? new Rate(perNode, now);
    this.#rates.set(node, rate);
    // Attack: a node that measures one image after the other, to have them all unpacked and kept.
    if (!rate.take(now)) return null;
    const others = [...this.#images.keys()];
    for (const other of [...others.filter((each) => !isSent(each)), ...others.filter(isSent)]) {
      if (this.#images.size < this.#options.uploads) break;
      if (this.#images.get(other)?.isRead === false) this.drop(other);
    }
    const timer = setTimeout(() => this.drop(digest), heldFor).unref();
    const image: PartialImage = {
      reader: this.#options.reader(),
      bytes: 0,
      by: new Set(),
      timer,
      isRead: false,
    };
    this.#images.set(digest, image);
    return image;
  }

  drop(digest: string): void {
    const image = this.#images.get(digest);
    clearTimeout(image?.timer);
    image?.reader.close();
    this.#images.delete(digest);
  }

  forget(node: string): void {
    this.#rates.delete(node);
  }

  close(): void {
    for (const digest of this.#images.keys()) this.drop(digest);
  }
}
