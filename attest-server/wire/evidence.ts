/**
 * The parts of evidence, by name: what a node shows besides its facts. A part's digest stands in what the quote signs
 * (`boot` in the binding, the others in the facts), or the part vouches for itself by replay onto the quoted PCRs.
 */
export const partNames = [
  'boot',
  'userSpace',
  'loaderFiles',
  'initrds',
  'ima',
  'disk',
  'firewall',
  'inventory',
  'installed',
] as const;
export type PartName = (typeof partNames)[number];

/** The most bytes of each. */
export const partBytes: Readonly<Record<PartName, number>> = {
  /** A firmware log; some machines pad theirs to 1 MB. */
  boot: 2 * 1024 * 1024,
  /** Measurements that systemd makes from user space: some dozens of records of 700 bytes. */
  userSpace: 64 * 1024,
  /** The list of them, by digest; each file travels by itself. */
  loaderFiles: 32 * 1024,
  /** The list of what initrds hold, by digest; each of them travels by itself. */
  initrds: 1024,
  /** Without an IMA policy it is one entry, of some 110 bytes. */
  ima: 256 * 1024,
  disk: 256 * 1024,
  /** 10,000 rules of iptables, of 200 bytes each. */
  firewall: 2 * 1024 * 1024,
  inventory: 256 * 1024,
  installed: 64 * 1024,
};

/**
 * No digest of these is signed, since they vouch for themselves: logs that grow while a quote is made by replay onto the
 * PCRs, and the files that a loader read by the digests that it measured. What initrds hold is the server's word on images
 * that had these digests.
 */
export const growingParts: ReadonlySet<PartName> = new Set(['userSpace', 'ima', 'loaderFiles', 'initrds']);

export interface Part {
  /** SHA-256 of the bytes, 64 lower-case hex digits. */
  readonly digest: string;
  /** Null if the part is only named. */
  readonly bytes: Buffer | null;
}

export type Parts = Readonly<Partial<Record<PartName, Part>>>;
