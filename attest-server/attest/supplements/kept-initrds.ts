import { hash } from 'node:crypto';
import { type InitrdManifest, imageBanks, isImageOf } from '../../formats/initrd-manifest.ts';
import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { imageDigest } from '../../verify/boot/initrd-components.ts';
import type { InitrdStore, KeptInitrd, VerdictStore } from '../ports.ts';

export interface KeptParts {
  readonly store: InitrdStore;
  readonly keepShared: VerdictStore['keepShared'];
  /** Bytes of all manifests. */
  readonly mostBytes: number;
  /** Milliseconds since the epoch. */
  now(): number;
}

interface CachedInitrd {
  /** As it is stored. */
  kept: KeptInitrd;
  /** When it was used last: milliseconds since the epoch. */
  usedAt: number;
}

/** Until a manifest that nobody used may give way to another one. */
const usedFor = 3_600_000;
const usedIsNotedEvery = 86_400_000;

/** Images with known content, within a budget: those that nobody boots give way. */
export class KeptInitrds {
  readonly #parts: KeptParts;
  /** By each digest of the image. */
  readonly #images = new Map<string, CachedInitrd>();
  #bytes = 0;

  constructor(parts: KeptParts) {
    this.#parts = parts;
  }

  /** Goes on with what is stored. */
  async restore(): Promise<void> {
    for (const kept of await this.#parts.store.all()) this.#know(kept);
  }

  /** Of all manifests. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Kept content of the image with this measurement; null if there is none. */
  of(component: BootComponent): KeptInitrd | null {
    const digest = imageDigest(component);
    const kept = digest === null ? undefined : this.#images.get(digest)?.kept;
    return kept !== undefined && isImageOf(kept.image, component) ? kept : null;
  }

  /**
   * False if there is no room for it.
   * @param bytes of the packed manifest
   * @param ekDigest of the node that sent the image
   */
  async keep({ image }: InitrdManifest, bytes: Buffer, ekDigest: string): Promise<boolean> {
    const { keepShared, store, now } = this.#parts;
    if (!(await this.#makeRoom(bytes.length))) return false;
    const { sha256, sha384, sha512 } = image;
    const kept: KeptInitrd = {
      manifest: hash('sha256', bytes, 'hex'),
      bytes: bytes.length,
      image: { sha256, sha384, sha512 },
      usedAt: now(),
    };
    await keepShared({ digest: kept.manifest, bytes }, ekDigest, now());
    await store.keep(kept);
    this.#know(kept);
    return true;
  }

  async noteUse({ image }: KeptInitrd): Promise<void> {
    const known = this.#images.get(image.sha256);
    if (known === undefined) return;
    const now = this.#parts.now();
    known.usedAt = now;
    if (now - known.kept.usedAt < usedIsNotedEvery) return;
    known.kept = { ...known.kept, usedAt: now };
    await this.#parts.store.keep(known.kept);
  }

  /** Not if it came again meanwhile. */
  async forget(kept: KeptInitrd): Promise<void> {
    const { image, bytes } = kept;
    if (this.#images.get(image.sha256)?.kept !== kept) return;
    this.#bytes -= bytes;
    for (const bank of imageBanks) this.#images.delete(image[bank]);
    await this.#parts.store.forget(image.sha256);
  }

  /** Their bytes are gone, since the nodes that named them may not hold them any longer. */
  gone(manifests: readonly string[]): void {
    if (this.#images.size === 0) return;
    const erased = new Set(manifests);
    for (const { kept } of new Set(this.#images.values())) {
      if (!erased.has(kept.manifest)) continue;
      this.#bytes -= kept.bytes;
      for (const bank of imageBanks) this.#images.delete(kept.image[bank]);
    }
  }

  #know(kept: KeptInitrd): void {
    // One that nodes measured by different banks comes once for each, and is kept once.
    this.#bytes += kept.bytes - (this.#images.get(kept.image.sha256)?.kept.bytes ?? 0);
    const known: CachedInitrd = { kept, usedAt: kept.usedAt };
    for (const bank of imageBanks) this.#images.set(kept.image[bank], known);
  }

  async #makeRoom(bytes: number): Promise<boolean> {
    const isRoom = () => this.#bytes + bytes <= this.#parts.mostBytes;
    const before = this.#parts.now() - usedFor;
    const unused = [...new Set(this.#images.values())]
      .filter(({ usedAt }) => usedAt < before)
      .sort((one, other) => one.usedAt - other.usedAt);
    for (const { kept } of unused) {
      if (isRoom()) break;
      await this.forget(kept);
    }
    return isRoom();
  }
}
