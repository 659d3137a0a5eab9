import { introduce, type Peer } from './attacker.ts';
import type { ForgedTpm } from './forged-tpm.ts';
import type { TestServer } from './running-server.ts';

/** An agent that answers every challenge at once, as long as its connection lasts. */
export interface HonestAgent {
  /** The states that the server told it. */
  readonly states: readonly string[];
  readonly peer: Peer;
  /** Settles when the connection is over; never rejects. */
  readonly ended: Promise<void>;
}

export async function honestAgent(
  world: TestServer,
  tpm: ForgedTpm,
  node: string,
  from?: string,
): Promise<HonestAgent> {
  const states: string[] = [];
  const peer = await introduce(world, tpm, node, from === undefined ? {} : { from });
  const answer = async () => {
    for (;;) {
      const challenge = await peer.challenge();
      peer.send(tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel }));
      states.push((await peer.verdict()).state);
    }
  };
  return { states, peer, ended: answer().catch(() => undefined) };
}
