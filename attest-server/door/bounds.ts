/** Bounds that a setting may change. Each is for one source on one port. */
export interface SourceBounds {
  /** Connections that have not said yet who they are. */
  readonly connections: number;
  /** New connections a second, and twice as many at once. */
  readonly perSecond: number;
  /** Bytes that its unproven connections sent. */
  readonly unprovenBytes: number;
}

/** Bounds for all sources of one port together. */
export const inAll = {
  /** Connections that have not said yet who they are. */
  connections: 2048,
  /** New connections of sources from which nobody has proven himself: each handshake costs the one thread time. */
  strangers: { burst: 128, perSecond: 32, spared: 64 },
  /** Below this a source may take what is spared of them: one that floods does not take all from the others. */
  light: { burst: 16, perSecond: 4 },
  /** Some connections of each source are taken from here instead, so that no flood from elsewhere keeps it out. */
  newcomers: { burst: 128, perSecond: 256, each: { burst: 4, perSecond: 0.4 } },
  /** New connections of sources from which somebody has, where more of one come than prove themselves. */
  proven: { burst: 256, perSecond: 128, spared: 128 },
  /** Connections that said hello with enrolled keys and have not proven them: of one source, and of all. */
  claimants: { perSource: 1024, total: 4096 },
  /**
   * Bytes of unproven connections, where one source may not send more: what they sent, and what each takes of itself, up to
   * half of it, and for each piece that came. Memory that was in use comes back late, so a connection counts for more than it takes.
   */
  unprovenBytes: 32 * 1024 * 1024,
  connectionBytes: 192 * 1024,
  pieceBytes: 256,
  /** Milliseconds for which a source is known after somebody who proved himself from there left. */
  knownFor: 3_600_000,
} as const;

/** Which bound was hit; labels of a metric. */
export const hitBounds = [
  'rate',
  'rate_in_all',
  'places',
  'places_in_all',
  'bytes',
  'bytes_in_all',
  'deadline',
  'proven_bytes',
] as const;
export type HitBound = (typeof hitBounds)[number];

/** The ports that connections are admitted at; labels too. */
export const admissionPorts = ['agents', 'api', 'metrics'] as const;
export type AdmissionPort = (typeof admissionPorts)[number];
