import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { armor, Decrypter, generateIdentity } from 'age-encryption';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { volumeMade } from '../../../attest-server/api/volume-api.ts';
import { startMachine } from '../../../swtpm-fixtures/machine.ts';
import { opensDisk, unlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';
import { agentsOf } from '../../attest-server/real-agent.ts';
import { startTestServer } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../trials.ts';
import { bootAnew, cutAfter, leasedKey, rotateHere } from './replacing.ts';
import { volumeFor, writeKeySettings } from './volume-for.ts';

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
    const identity = await generateIdentity();
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const world = resources.use(await startTestServer(await writeKeySettings(dir, identity)));
    const machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    const first = await volumeFor(machine, node, agentsOf(world), world.call);
    const disk = resources.use(
      await unlockingMachine(machine, node, agentsOf(world), programs['assay-agent']),
    );

    const boot = () => bootAnew(machine, disk, log);

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
      const key = await leasedKey(disk, uuid, { device });
      assert.equal(await opensDisk(device, key), true);
      const cut = randomInt(4);
      before.push({ key, cut });
      const write = cutAfter(cut, (length) => randomInt(length + 1));
      await assert.rejects(rotateHere(disk, uuid, { device, write }), /cut/);
    }

    await world.restart();
    await boot();
    for (const [at, { uuid, device, passphrase }] of volumes.entries()) {
      const { key: earlier, cut } = before[at] ?? assert.fail();
      assert.equal(
        await opensDisk(device, await leasedKey(disk, uuid, { device })),
        true,
        `locked out in write ${cut}`,
      );
      assert.equal(await opensDisk(device, passphrase), true);
      await rotateHere(disk, uuid, { device });
      assert.equal(await opensDisk(device, earlier), false);
    }

    await boot();
    for (const { uuid, device, passphrase } of volumes) {
      assert.equal(await opensDisk(device, await leasedKey(disk, uuid, { device })), true);
      assert.equal(await opensDisk(device, passphrase), true);
      assert.equal((await world.store.leases.volume(uuid))?.rotation, null);
    }
  });
});
