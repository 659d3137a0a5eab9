/** Sizes, in bytes, and counts that both sides hold to. A larger message is refused with `too_large`. */
export const limits = {
  textFrame: 256 * 1024,
  /** A firmware log; some machines pad theirs to 1 MB. */
  bootLog: 2 * 1024 * 1024,
  /** Events of one log; the longest of a real machine seen so far has some hundreds. */
  bootLogEvents: 16_384,
  binaryFrame: 2 * 1024 * 1024 + 64,
  facts: 64 * 1024,
  /** What systemd measures from user space: some dozens of records of 700 bytes. */
  userspaceLog: 64 * 1024,
  quotes: 4,
  nodeName: 253,
  /** A join token, or one of a cluster: those carry claims and a signature. */
  enrolmentToken: 4096,
} as const;

/** Defaults in milliseconds; configuration may change those of the server. */
export const timings = {
  challengeEvery: 60_000,
  answerWithin: 30_000,
  unknownAfter: 180_000,
  helloWithin: 10_000,
  activateWithin: 30_000,
  /** A verdict that stays the same has a row of the history this often. */
  summaryEvery: 3_600_000,
  /** The audit log's head is signed this often, where something changed. */
  checkpointEvery: 60_000,
  /** And for those who ask for it, no more often than this. */
  signOnDemandEvery: 1_000,
} as const;
