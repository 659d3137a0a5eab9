import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import {
  binaryFrame,
  type Challenge,
  spokenWords,
  supplementFrame,
} from '../../../attest-server/wire/messages.ts';
import { madeInitrd, withInitrds } from '../../../swtpm-fixtures/initrd.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../attacker.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';

const base = recordedLog('debian13-shim-grub');
const imageOf = (text: string) => madeInitrd({ init: Buffer.from(text) });
const digestOf = (bytes: Buffer) => hash('sha256', bytes, 'hex');

describe('places of initrds, over real connections', () => {
  let folder: string;
  let world: TestServer;
  const peers: Peer[] = [];
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-places-'));
    const policy = join(folder, 'policy.yaml');
    await writeFile(
      policy,
      `${(await readFile(bootPolicyFile, 'utf8')).trimEnd()}\n    boot: {scope: {initrd: contents}}\n`,
    );
    world = await startTestServer({ policy, challengeEvery: 1, answerWithin: 1 });
  });
  after(async () => {
    for (const { socket } of peers) socket.terminate();
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  /** A node that booted these, and sends one that it is asked for, or is silent then. Gives which it was asked for. */
  async function boot(node: string, images: readonly Buffer[], sends: boolean): Promise<readonly string[]> {
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node, { hello: { speaks: spokenWords } });
    peers.push(peer);
    const bootLog = withInitrds(base, images);
    const sha256 = replayedValues(bootLog, 'sha256');
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog };
    const asked: string[] = [];
    const answer = (challenge: Challenge) => {
      const wanted = challenge.supplements?.initrds?.of[0];
      if (wanted !== undefined) asked.push(wanted);
      if (wanted !== undefined && !sends) return;
      peer.send(binaryFrame('part', bootLog));
      const evidence = tpm.evidenceOfParts(challenge, occasion, {}, (data) =>
        madeQuote(tpm.ak, data, { pcrs: { sha256 } }),
      );
      const image = images.find((each) => digestOf(each) === wanted);
      if (image !== undefined) peer.send(supplementFrame('initrds', image));
      const brought = image && {
        supplements: { initrds: { from: 0, more: false, pieces: [digestOf(image)] } },
      };
      peer.send({ ...evidence, ...brought });
    };
    const going = async () => {
      for (;;) answer(await peer.challenge());
    };
    void going().catch(() => {});
    return asked;
  }

  it('go to a node that came later, once nodes that booted several were silent in one turn each (row 368)', async () => {
    const two = (name: string) => [imageOf(`${name} 1`), imageOf(`${name} 2`)];
    const silent = [await boot('silent-1', two('one'), false), await boot('silent-2', two('two'), false)];
    await world.until(() => silent.every(({ length }) => length > 0));
    const asked = await boot('honest', [imageOf('honest')], true);
    await world.until(() => asked.length > 0);
    assert.deepEqual(
      silent.map((digests) => new Set(digests).size),
      [1, 1],
    );
    await world.until(async () => (await world.metric('assay_initrd_received_bytes_total')) > 0);
    // They are not left out: nobody else waits now.
    await world.until(() => silent.some((digests) => new Set(digests).size > 1));
  });
});
