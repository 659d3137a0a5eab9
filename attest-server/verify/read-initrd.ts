import type { InitrdManifest } from '../formats/initrd-manifest.ts';

/** For the compiler alone, as in proven.ts. */
declare class InitrdSeal {
  protected readonly listed: never;
}
declare class ManifestSeal {
  protected readonly unpacked: never;
}

/** The content of an initrd, under the digest of its bytes: only `checkInitrds` makes one. */
export interface ReadInitrd extends Pick<InitrdManifest, 'image'>, InitrdSeal {
  /** It may have to be unpacked: in steps of some milliseconds. */
  whole(): Generator<void, ReadManifest>;
}

/** As it was read of these bytes: only `checkInitrds` makes one. */
export interface ReadManifest extends InitrdManifest, ManifestSeal {}

/** Manifests that a part lists. */
export interface InitrdSet {
  /** SHA-256 of the part, hex. */
  readonly digest: string;
  readonly manifests: readonly ReadInitrd[];
  /** Bytes of them, packed. */
  readonly bytes: number;
}
