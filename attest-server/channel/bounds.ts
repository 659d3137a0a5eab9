import { limits } from '../wire/limits.ts';

/** All parts of one answer, each as large as it may be: where a node has much to say, its first answer has all of it. */
const allParts = Object.values(limits.parts).reduce((sum, bytes) => sum + bytes, 0);

/** How much a peer may send before it has proven anything, and how fast any peer may speak. */
export const bounds = {
  /** Bytes that one connection may send: until its keys are known a hello, then parts and evidence. */
  sent: {
    beforeOpen: limits.textFrame + 16 * 1024,
    beforeProof: allParts + 2 * limits.textFrame,
    afterRefusal: 16 * 1024,
  },
  /** Frames, pings and pongs: so many at once, and so many a second. An answer to a challenge costs nothing. */
  frames: { burst: 128, perSecond: 16 },
  /** Messages that something changed on the node, each of which asks to be challenged. */
  changes: { burst: 3, perSecond: 1 },
  /** Parts of evidence that came for an open challenge, which wait for the message that names them. */
  parts: { count: 16, bytes: 6 * 1024 * 1024 },
  /**
   * Bytes of all proven connections, of answers that are open: room for the long ones and for initrds that are sent, or for many short
   * ones. `piece`: what one from the network takes beside its bytes. `grace`: milliseconds that are added to
   * the time for which a node has had some.
   */
  openAnswers: { bytes: 32 * 1024 * 1024, piece: 256, grace: 1_000 },
  /** Answers under way, of all connections, that may bring `ima.inAnswer` bytes of it: all these are in memory. */
  longAnswers: 2,
  /** Challenges at once for the rest of it: a list that is as long as one may be takes twelve. */
  rounds: { burst: 12, perSecond: 1 },
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
