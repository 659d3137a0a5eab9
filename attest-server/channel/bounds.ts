import { limits } from '../protocol/limits.ts';

/** How much one listener gives to peers that have proven nothing yet, and how fast any peer may speak. */
export const bounds = {
  /** TCP connections that have not become a WebSocket: the oldest goes when another one comes. */
  halfOpen: { perSource: 256, total: 4096, keptMs: 0 },
  /** WebSockets without proof. One that is younger than this is not taken away for the next. */
  unproven: { perSource: 128, total: 4096, keptMs: 10_000 },
  /** Unproven connections that claim one node in one role from one source. */
  unprovenPerNodeAndSource: 2,
  /** Bytes of unproven connections that nobody has judged yet; over the total, a source keeps room for one log. */
  unjudged: { perSource: 32 * 1024 * 1024, total: 256 * 1024 * 1024, spared: 4 * 1024 * 1024 },
  /** Bytes that one connection may send: until its keys are known a hello, then a boot log and evidence. */
  sent: {
    beforeOpen: limits.textFrame + 16 * 1024,
    beforeProof: limits.parts.boot + 64 + 2 * limits.textFrame,
  },
  /** Frames, pings and pongs: so many at once, and so many a second. An answer to a challenge costs nothing. */
  frames: { burst: 128, perSecond: 16 },
  /** Messages that something changed on the node, each of which asks to be challenged. */
  changes: { burst: 3, perSecond: 1 },
  /** Parts of evidence that came for an open challenge, which wait for the message that names them. */
  parts: { count: 16, bytes: 4 * 1024 * 1024 },
  /** A challenge to all: so many milliseconds for each connection, and no more than this in all. */
  spread: { each: 2, most: 10_000 },
  /** Bytes that wait for a peer which does not read. */
  unread: 256 * 1024,
  /** Parts of one message: an agent sends each in one. */
  fragments: 64,
  /** Pieces in which one frame may arrive from the network; a peer that sends single bytes pays in memory. */
  chunks: 4096,
  /** Milliseconds after the deadline of the first challenge: a late answer is refused with a code of its own. */
  firstAnswerGrace: 1_000,
  /** Milliseconds for verdicts under way when the server ends. */
  drain: 5_000,
} as const;
