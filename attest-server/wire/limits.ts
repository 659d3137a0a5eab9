import { partBytes } from './evidence.ts';

/** Sizes, in bytes, and counts that both sides hold to. A larger message is refused with `too_large`. */
export const limits = {
  textFrame: 256 * 1024,
  /** Values in one of them: `,`, `[` and `{`, wherever they stand. */
  values: 16_384,
  parts: partBytes,
  /** Events of one log; the longest of a real machine seen so far has some hundreds. */
  bootLogEvents: 16_384,
  binaryFrame: 4 * 1024 * 1024 + 64,
  /** Files that a loader measured: bytes of one, and bytes and number of all that one boot is explained by. */
  loaderFiles: { each: 4 * 1024 * 1024, bytes: 16 * 1024 * 1024, count: 256 },
  /** Files in one answer: the rest is asked for again. `blocks`: environment blocks, which are of no digest asked for. */
  filesInAnswer: { bytes: 8 * 1024 * 1024, count: 64, blocks: 4 },
  facts: 64 * 1024,
  /** Header of a LUKS volume with its keyslots, as a node makes it. */
  luksHeader: 2 * 1024 * 1024,
  /**
   * IMA's list, in bytes: of one frame of it, of what one answer may bring once its connection is proven, and of all that is
   * kept of one node and boot unless the server is set otherwise. Before the proof an answer brings `parts.ima` at most.
   * `pieces`: frames of one answer.
   */
  ima: { piece: 1024 * 1024, pieces: 8, inAnswer: 8 * 1024 * 1024, list: 64 * 1024 * 1024 },
  /**
   * An initrd, in bytes: of one frame of it, of what one answer may bring, and of the whole. `pieces`: frames of one answer;
   * `count`: images of one boot that are looked into; `archives`, `entries`: what one may hold; `manifest`: bytes of what is kept
   * of one, packed, and `unpackedManifest`: half of them are digests, which do not pack.
   */
  initrd: {
    piece: 1024 * 1024,
    pieces: 8,
    inAnswer: 8 * 1024 * 1024,
    image: 512 * 1024 * 1024,
    count: 4,
    archives: 64,
    entries: 65_536,
    manifest: 8 * 1024 * 1024,
    unpackedManifest: 48 * 1024 * 1024,
  },
  /**
   * Known files of nodes, in bytes: the packed list of one reference, some 450,000 files, and its file or request. All references
   * of a server, as they are stored: some 1,300,000 files.
   */
  references: { files: 24 * 1024 * 1024, one: 36 * 1024 * 1024, all: 96 * 1024 * 1024 },
  /** Digests of parts that a challenge may name as held. */
  holds: 32,
  /** The compared part of a firewall: agents send no more, and more than this of anything was written by nobody. */
  rules: {
    count: 50_000,
    chains: 16_384,
    /** Sets, maps and what else has a name; and elements of one. */
    objects: 16_384,
    elements: 65_536,
    /** Characters of one rule, or element, as it is compared. */
    text: 64 * 1024,
  },
  /** Ports on which a node says that something listens. */
  listening: 4096,
  /** Paths of a node that a policy protects. */
  paths: 16,
  /** Words of what an agent speaks. */
  speaks: 32,
  quotes: 4,
  nodeName: 253,
  /** A join token, or one of a cluster: those carry claims and a signature. */
  enrolmentToken: 4096,
  /** Characters of a token of the API: one of a cluster may be of OIDC, with many groups. */
  apiToken: 8192,
} as const;

/** Defaults in milliseconds; configuration may change those of the server. */
export const timings = {
  challengeEvery: 60_000,
  answerWithin: 30_000,
  unknownAfter: 180_000,
  helloWithin: 10_000,
  activateWithin: 30_000,
  /** From one ping of the server to the next: an unanswered one ends the connection. */
  pingEvery: 30_000,
  /** A verdict that stays the same has a row of the history this often. */
  summaryEvery: 3_600_000,
  /** The audit log's head is signed this often, where something changed. */
  checkpointEvery: 60_000,
  /** Refusals without an entry of their own are counted by one, this often. */
  countRefusalsEvery: 3_600_000,
  /** And for those who ask for it, no more often than this. */
  signOnDemandEvery: 1_000,
} as const;
