import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import { z } from 'zod';
import { rotateKey } from '../../../agent/unlock/rotate.ts';
import { volumeMade } from '../../../attest-server/api/volume-api.ts';
import { startMachine } from '../../../swtpm-fixtures/machine.ts';
import { opensDisk, unlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';
import { agentsOf } from '../../attest-server/real-agent.ts';
import { startTestServer } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../trials.ts';
import { policyWithKeys, volumeFor, writeKeySettings } from './volume-for.ts';

const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');
const escrowed = z.object({ recovery: z.string() });

interface Volume {
  readonly uuid: string;
  readonly device: string;
  readonly passphrase: Buffer;
}

describe('the keys of many disks that are replaced at once', function () {
  this.timeout(0);

  /** With ASSAY_TEST_TRIALS=100 they are a hundred. */
  it('open each disk though power is cut at any write, and the server starts anew meanwhile', async () => {
    await using resources = new AsyncDisposableStack();
    const dir = await mkdtemp(join(tmpdir(), 'assay-rotations-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const { policy, wrappingKeyFile } = await writeKeySettings(dir);
    const identity = await generateIdentity();
    await writeFile(policy, policyWithKeys(await identityToRecipient(identity)));
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const world = resources.use(await startTestServer({ policy, wrappingKeyFile }));
    const machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    const first = await volumeFor(machine, node, agentsOf(world), world.call);
    const disk = resources.use(
      await unlockingMachine(machine, node, agentsOf(world), programs['assay-agent']),
    );

    const boot = async () => {
      await machine.powerCycle(log);
      await rm(disk.config.runtimeDir, { recursive: true, force: true });
    };
    const keyOf = async (uuid: string, device: string) => {
      await using program = disk.unlock(uuid, { device });
      const key = await program.read();
      assert.equal(key.length, 32, (await program.ended).said);
      return key;
    };
    /** @param cut after that many writes, and bytes of the one after; null: never */
    const rotate = (uuid: string, device: string, cut: number | null) => {
      let writes = 0;
      return rotateKey({ ...disk.config, volume: uuid }, device, {
        logger: pino({ level: 'silent' }),
        signal: new AbortController().signal,
        print: () => {},
        async write(file, piece, place) {
          const isLast = writes++ === cut;
          await file.write(piece, 0, isLast ? randomInt(piece.length + 1) : piece.length, place);
          if (isLast) throw new Error('cut');
        },
      });
    };

    const volumes: Volume[] = [];
    for (let at = 0; at < trials(1); at += 1) {
      const made = { node, name: `docker_${at}`, path: `/var/lib/docker_${at}` };
      const uuid = at === 0 ? first : volumeMade.parse(await world.call('POST', '/v1/volumes', made)).uuid;
      const device = join(dir, `disk-${at}`);
      await writeFile(device, '');
      await truncate(device, 64 * 1024 * 1024);
      await disk.format(uuid, device);
      const { recovery } = escrowed.parse(await world.call('GET', `/v1/volumes/${uuid}/escrow`));
      const passphrase = Buffer.from(await decrypter.decrypt(armor.decode(recovery)));
      await world.call('POST', `/v1/volumes/${uuid}/rotate`, {});
      volumes.push({ uuid, device, passphrase });
    }

    await boot();
    const before: { readonly key: Buffer; readonly cut: number }[] = [];
    for (const { uuid, device } of volumes) {
      const key = await keyOf(uuid, device);
      assert.equal(await opensDisk(device, key), true);
      const cut = randomInt(4);
      before.push({ key, cut });
      await assert.rejects(rotate(uuid, device, cut), /cut/);
    }

    await world.restart();
    await boot();
    for (const [at, { uuid, device, passphrase }] of volumes.entries()) {
      const { key: earlier, cut } = before[at] ?? assert.fail();
      assert.equal(await opensDisk(device, await keyOf(uuid, device)), true, `locked out in write ${cut}`);
      assert.equal(await opensDisk(device, passphrase), true);
      await rotate(uuid, device, null);
      assert.equal(await opensDisk(device, earlier), false);
    }

    await boot();
    for (const { uuid, device, passphrase } of volumes) {
      assert.equal(await opensDisk(device, await keyOf(uuid, device)), true);
      assert.equal(await opensDisk(device, passphrase), true);
      assert.equal((await world.store.leases.volume(uuid))?.rotation, null);
    }
  });
});
