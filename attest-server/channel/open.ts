/**
 * The conversations with agents: `listener`, `connection`, and `session`, a state machine without I/O.
 * `probation` holds while nothing is proven; sizes and rates are in `bounds`.
 *
 * `arrived-supplements` takes the pieces that were asked for, and `answer-sizes` says how much of each
 * supplement comes next. `long-answers` lets few nodes send much at a time; `open-answers` bounds what all of
 * them have sent and nobody has judged yet.
 */

import type { Admission } from '../door/admission.ts';
import { timings } from '../wire/limits.ts';
import { type AgentListener, listen, type ServingIdentity } from './listener.ts';
import type { ChannelPorts } from './ports.ts';

export interface ChannelConfig {
  readonly host: string;
  /** 0 takes a free one. */
  readonly agentPort: number;
  /** Milliseconds. */
  readonly challengeEvery: number;
  readonly answerWithin: number;
  readonly helloWithin: number;
  readonly pingEvery: number;
}

/** The listener of agents, and their connections. @throws Error with code `EADDRINUSE`, `EACCES`, … */
export async function openChannel<Node>(
  config: ChannelConfig,
  { chain, key }: ServingIdentity,
  admission: Admission,
  ports: ChannelPorts<Node>,
): Promise<AgentListener & AsyncDisposable> {
  const { host, agentPort: port, challengeEvery, answerWithin, helloWithin, pingEvery } = config;
  const { activateWithin } = timings;
  const within = { challengeEvery, answerWithin, helloWithin, activateWithin, pingEvery };
  const listener = await listen({ host, port, chain, key, timings: within, admission }, ports);
  return {
    port: listener.port,
    challengeNow: listener.challengeNow,
    connected: listener.connected,
    ended: listener.ended,
    silence: listener.silence,
    get proven() {
      return listener.proven;
    },
    get openAnswerBytes() {
      return listener.openAnswerBytes;
    },
    disconnect: listener.disconnect,
    renew: listener.renew,
    close: listener.close,
    [Symbol.asyncDispose]: listener.close,
  };
}
