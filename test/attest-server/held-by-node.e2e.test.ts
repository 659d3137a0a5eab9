import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { binaryFrame } from '../../attest-server/protocol/messages.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { enrolledNode, introduce, type Peer } from './attacker.ts';
import { type ForgedTpm, forgedTpm } from './forged-tpm.ts';
import { startTestServer, type TestServer } from './running-server.ts';
import { type SmallDisk, smallDisk } from './small-disk.ts';
import { madeQuote } from './verify/made-quote.ts';

const mebibyte = 1024 * 1024;
const log = recordedLog('debian13-shim-grub');

/** A machine whose root boots it as often as he likes, and shows another boot log each time. */
function rebooting(world: TestServer, tpm: ForgedTpm, node: string) {
  let peer: (Peer & { readonly hello: string }) | null = null;
  let resetCount = 7;
  const answer = async (bootLog: Buffer, boots: number): Promise<string> => {
    resetCount += boots;
    peer ??= await introduce(world, tpm, node);
    const { hello, channel } = peer;
    const challenge = await peer.challenge();
    const digest = hash('sha256', bootLog, 'hex');
    if (!challenge.holds.includes(digest)) peer.send(binaryFrame('bootLog', bootLog));
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256: Buffer.alloc(24 * 32) }, resetCount });
    const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
    peer.send(tpm.evidence(challenge, { node, hello, channel, bootId, bootLog }, { quote }));
    for (;;) {
      const message = await peer.receive();
      if (message?.type === 'verdict') return String(message.state);
      if (message?.type === 'challenge') continue;
      await peer.close();
      peer = null;
      return String(message?.code ?? 'ended');
    }
  };
  return {
    answer,
    /** One boot, in which it shows eight logs of 2 MiB that nobody has seen. */
    async boot(): Promise<readonly string[]> {
      const said: string[] = [];
      for (let shown = 0; shown < 8; shown += 1) {
        const size = 2 * mebibyte - 8 * (resetCount % 1000) - shown;
        said.push(await answer(Buffer.concat([log, Buffer.alloc(size - log.length)]), shown === 0 ? 1 : 0));
      }
      return said;
    },
    async close() {
      await peer?.close();
    },
  };
}

describe('an enrolled node that boots again and again, on a file system of 160 MiB', function () {
  this.timeout(120_000);
  let disk: SmallDisk;
  let world: TestServer;
  const [bad, honest] = [forgedTpm(), forgedTpm()];
  before(async function () {
    const made = await smallDisk(160);
    if (made === null) {
      console.log('      skipped: only root may mount a file system of 160 MiB');
      this.skip();
    }
    disk = made;
    world = await startTestServer({ policy: 'observe', challengeEvery: 0.02, within: disk.path });
    for (const [node, tpm] of [
      ['bad', bad],
      ['honest', honest],
    ] as const)
      await enrolledNode(world, tpm, node);
  });
  after(async () => {
    try {
      await world?.[Symbol.asyncDispose]();
    } finally {
      await disk?.[Symbol.asyncDispose]();
    }
  });

  const databaseBytes = () => statSync(join(world.stateDir, 'assay.db')).size;

  it('holds a twentieth of it, and nobody else is refused for it (row 350)', async () => {
    const before = databaseBytes();
    const machine = rebooting(world, bad, 'bad');
    const said = new Set<string>();
    for (let boot = 0; boot < 12; boot += 1) for (const each of await machine.boot()) said.add(each);
    await machine.close();
    const grown = databaseBytes() - before;
    assert(grown <= 9 * mebibyte, `the database grew by ${grown} bytes`);
    assert(disk.free() >= 100 * mebibyte, `${disk.free()} bytes are free`);
    assert.deepEqual([...said].toSorted(), ['too_large', 'trusted']);
    const good = rebooting(world, honest, 'honest');
    assert.equal(await good.answer(log, 1), 'trusted');
    await good.close();
    assert.equal(await world.metric('assay_server_fault{cause="disk_full"}'), 0);
  });
});
