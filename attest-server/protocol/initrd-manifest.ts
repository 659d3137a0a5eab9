/**
 * What an initrd holds, file by file: made by the server of the image that a node sent, once the image has the measured
 * digest. The image is not kept. References that come or go later are compared with this.
 */
export interface InitrdManifest {
  readonly version: 1;
  /** Of the whole image, as loaders measure it: bytes, and hex digests. */
  readonly image: {
    readonly bytes: number;
    readonly sha256: string;
    readonly sha384: string;
    readonly sha512: string;
  };
  /** The archives in it, one after the other, as the kernel unpacks them. */
  readonly archives: readonly InitrdArchive[];
  /** In the order in which the kernel makes them. */
  readonly entries: readonly InitrdEntry[];
  /** Files that are made on the host, where a rule reads what is in them: SHA-256 -> base64. */
  readonly contents: Readonly<Record<string, string>>;
  /** What keeps this from telling all that the kernel unpacks: with one of them nothing is known of the initrd. */
  readonly faults: readonly InitrdFault[];
}

export interface InitrdArchive {
  /** Where it begins in the image. */
  readonly offset: number;
  readonly compression: 'none' | 'gzip' | 'zstd';
  readonly entries: number;
}

export interface InitrdEntry {
  /** Where the kernel puts it: without a slash before it, links on the way followed; printable characters, others escaped. */
  readonly path: string;
  /** st_mode, with the bits of its type. */
  readonly mode: number;
  /** Absent: 0. */
  readonly uid?: number;
  readonly gid?: number;
  /** Of a file. */
  readonly bytes?: number;
  readonly sha256?: string;
  /** Of a symbolic link, as it stands there. */
  readonly target?: string;
  /** Of a device: major and minor number. */
  readonly device?: readonly [number, number];
  /**
   * Its content, or all of it, gave way to a later entry. It counts as well: what is in `kernel/` is read before the archives are
   * unpacked, by name, and there the first one counts.
   */
  readonly replaced?: true;
  /** The kernel does not make it, mostly because there is no such folder. The path is as it stands in the archive. */
  readonly unmade?: true;
}

export interface InitrdFault {
  /** Byte of the image, or of what was unpacked of the archive that begins there. */
  readonly offset: number;
  readonly code: 'compression' | 'malformed' | 'path' | 'too_large' | 'trailing';
  /** A sentence for a person. */
  readonly text: string;
}
