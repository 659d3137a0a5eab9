import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { type ServerSettings, startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

/** A whole server, and nodes with forged TPMs that booted with these logs. */
export interface ForgedFleet extends AsyncDisposable {
  readonly world: TestServer;
  readonly nodes: readonly string[];
  /** Connects, answers the first challenge, and gives the state of the verdict. */
  answer(node: string): Promise<string>;
}

export async function startForgedFleet(
  boots: Readonly<Record<string, Buffer>>,
  settings: ServerSettings = {},
): Promise<ForgedFleet> {
  const world = await startTestServer(settings);
  const tpms = new Map<string, ForgedTpm>(Object.keys(boots).map((node) => [node, forgedTpm()]));
  for (const [node, { ekDigest }] of tpms) await world.pin(node, ekDigest);
  return {
    world,
    nodes: [...tpms.keys()],
    async answer(node) {
      const tpm = tpms.get(node) ?? assert.fail();
      const bootLog = boots[node] ?? assert.fail();
      const peer = await introduce(world, tpm, node);
      const challenge = await peer.challenge();
      if (!challenge.holds.includes(hash('sha256', bootLog, 'hex'))) peer.send(binaryFrame('part', bootLog));
      const sha256 = replayedValues(bootLog, 'sha256');
      const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog };
      const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256 } });
      peer.send(tpm.evidence(challenge, occasion, { quote }));
      const { state } = await peer.verdict();
      await peer.close();
      return state;
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}
