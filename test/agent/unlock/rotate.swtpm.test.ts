import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { headerBytes } from '../../../agent/unlock/format.ts';
import { readNote, rotationMark } from '../../../agent/unlock/note.ts';
import type { RotateDependencies } from '../../../agent/unlock/rotate.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { volumeView } from '../../../attest-server/api/volume-api.ts';
import { reference as referenceSchema } from '../../../attest-server/formats/reference.ts';
import { keyslotAreas, parseLuksHeader } from '../../../attest-server/wire/luks-header.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import {
  opensDisk,
  type UnlockingMachine,
  unlockingMachine,
} from '../../../swtpm-fixtures/unlocking-machine.ts';
import { runAssay } from '../../attest-server/cli/cli-fixture.ts';
import { agentsOf, ekDigestOf, startAgent } from '../../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootAnew, cutAfter, leasedKey, rotateHere } from './replacing.ts';
import { until, volumeFor, writeKeySettings } from './volume-for.ts';

const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');

describe('the key of a disk that is replaced', function () {
  this.timeout(120_000);
  let dir: string;
  let world: TestServer;
  let machine: FixtureMachine;
  let disk: UnlockingMachine;
  let uuid: string;
  let identity: string;
  let passphrase: Buffer;
  let recovered: (armoured: string) => Promise<Buffer>;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-rotate-'));
    identity = await generateIdentity();
    const settings = await writeKeySettings(dir, identity);
    [world, machine] = await Promise.all([startTestServer(settings), startMachine({ log })]);
    uuid = await volumeFor(machine, node, agentsOf(world), world.call);
    disk = await unlockingMachine(machine, node, agentsOf(world), programs['assay-agent']);
    await disk.format(uuid);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    recovered = async (armoured) => Buffer.from(await decrypter.decrypt(armor.decode(armoured)));
    passphrase = await recovered((await escrow()).recovery);
  });
  after(async () => {
    await disk?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const escrow = async () =>
    z
      .object({ recovery: z.string(), header: z.string() })
      .parse(await world.call('GET', `/v1/volumes/${uuid}/escrow?header=true`));
  const entries = async (action: string) => (await world.audit()).filter((entry) => entry.action === action);
  const begin = async () =>
    volumeView.parse(await world.call('POST', `/v1/volumes/${uuid}/rotate`, {})).rotation;
  const stored = async () => (await world.store.leases.volume(uuid)) ?? assert.fail();

  /** Boots, and gives what the disk is opened with: as systemd-cryptsetup would. */
  async function boot(): Promise<Buffer> {
    await bootAnew(machine, disk, log);
    return leasedKey(disk, uuid);
  }

  const rotate = (write?: RotateDependencies['write']) =>
    rotateHere(disk, uuid, write === undefined ? {} : { write });

  /** Replaces the key: which it was, and the header with its keyslots before and after. */
  async function replaced(): Promise<Readonly<Record<'key' | 'image' | 'now', Buffer>>> {
    const header = async () => Buffer.from((await readFile(disk.device)).subarray(0, headerBytes));
    const key = await boot();
    const image = await header();
    await begin();
    await boot();
    await rotate();
    return { key, image, now: await header() };
  }

  /** Whether a secret opens a copy of the disk, which stays as the cut left it. */
  async function opensCopy(secret: Buffer): Promise<boolean> {
    const copy = join(dir, 'copy');
    await writeFile(copy, await readFile(disk.device));
    return opensDisk(copy, secret);
  }

  const slotsOf = async (): Promise<readonly string[]> => {
    const { disk: shown } = referenceSchema.parse(await world.call('GET', `/v1/references/disk-${uuid}`));
    return (shown?.volumes ?? []).map(({ keyslots }) => Object.keys(keyslots).join());
  };

  it('stays as it is until the node boots, and can be called off', async () => {
    const before = await boot();
    assert.deepEqual(await slotsOf(), ['0,1']);
    const rotation = await begin();
    assert.deepEqual([rotation?.begun, rotation?.by], [false, 'token:admin']);
    await assert.rejects(begin(), /is being replaced since .* by token:admin/);
    assert.equal(await rotate(), '', 'nothing is due in this boot');
    await world.call('DELETE', `/v1/volumes/${uuid}/rotate`);
    assert.equal((await stored()).nextKey, null);
    assert.deepEqual(await boot(), before);
    await assert.rejects(world.call('DELETE', `/v1/volumes/${uuid}/rotate`), /is not being replaced/);
  });

  it('is exchanged at the next boot, by the program of its unit, and says so', async () => {
    const before = await boot();
    await begin();
    assert.deepEqual(await boot(), before);
    const { headerDigest: earlier } = await stored();
    const { code, said } = await disk.rotate(uuid);
    assert.equal(code, 0, said);
    assert.match(said, /has its next key, and the earlier one opens nothing any more/);
    const now = await stored();
    assert.deepEqual([now.rotation, now.nextKey], [null, null]);
    const note = await readNote(disk.config.runtimeDir, uuid);
    assert.deepEqual(note?.expectedHeaders, [earlier, now.headerDigest], 'the cap leaves the volume open');
    assert.deepEqual((await entries('volume.rotate.end')).at(-1)?.detail.header, now.headerDigest);
    // As where it was killed before it had the server's last word.
    await writeFile(rotationMark(disk.config.runtimeDir, uuid), '');
    assert.match(await rotate(), /nothing is left to replace: it was called off, or it is done/);
    await rm(rotationMark(disk.config.runtimeDir, uuid));
    assert.deepEqual(await slotsOf(), ['1,2']);
    assert.deepEqual(
      [await disk.opens(before), await disk.opens(passphrase)],
      [false, true],
      'nor does any piece of its keyslot stay',
    );
    const next = await boot();
    assert.notDeepEqual(next, before);
    assert.equal(await disk.opens(next), true);
    assert.equal((await disk.rotate(uuid)).said, '', 'nothing more is due');
  });

  it('leaves nothing of the earlier keyslot on the disk, also for who has an earlier header', async () => {
    const { key: before, image, now } = await replaced();
    await using file = await open(disk.device, 'r+');
    // The earlier copies of the header alone, over what is left of its keyslots.
    await file.write(image.subarray(0, 32 * 1024), 0, 32 * 1024, 0);
    assert.equal(await opensCopy(before), false);
    await file.write(now, 0, now.length, 0);
  });

  it('gets no key with the header of an earlier rotation, whole as it was (row 436)', async () => {
    const { key: earlier, image, now } = await replaced();
    await using file = await open(disk.device, 'r+');
    await file.write(image, 0, image.length, 0);
    assert.equal(await opensCopy(earlier), true, 'as a database of before says');
    await machine.powerCycle(log);
    {
      await using program = disk.unlock(uuid);
      assert.equal((await program.read()).length, 0);
      assert.match((await program.ended).said, /another header than the one that is known/);
    }
    await file.write(now, 0, now.length, 0);
    await boot();
  });

  for (const [how, at, isNext] of [
    ['before its keyslot is written', [0, 0], false],
    ['while its keyslot is written', [0, 4196], false],
    ['before the second header is written', [1, 0], false],
    // All of its binary part, and the begin of its metadata.
    ['while the second header is written', [1, 4196], false],
    ['before the first header is written', [2, 0], true],
    ['while the first header is written', [2, 4196], true],
    ['before the earlier keyslot is wiped', [3, 0], true],
    ['while the earlier keyslot is wiped', [3, 4196], true],
    ['before the server has the word that it is done', [3, Number.POSITIVE_INFINITY], true],
  ] as const)
    it(`opens the disk where power is cut ${how}, and the next boot goes on (row 435)`, async () => {
      await begin();
      const earlier = await boot();
      assert.equal(await opensCopy(earlier), true);
      const [whole, bytes] = at;
      await assert.rejects(rotate(cutAfter(whole, () => bytes)), /cut/);
      const { rotation } = await stored();
      assert.equal(typeof rotation?.headerDigest, 'string', 'the server has the header first');
      await assert.rejects(world.call('DELETE', `/v1/volumes/${uuid}/rotate`), /has begun to replace/);
      assert.equal(await opensCopy(passphrase), true);
      const key = await boot();
      assert.deepEqual([await opensCopy(key), key.equals(earlier)], [true, !isNext]);
      assert.match(await rotate(), /has its next key/);
      assert.deepEqual([await opensCopy(passphrase), await opensCopy(earlier)], [true, false]);
      assert.deepEqual([(await slotsOf()).length, (await stored()).rotation], [1, null]);
    });

  it('is refused, with nothing written, where the keyslot of recovery has rotted, until that is restored (row 445)', async () => {
    await boot();
    // Within the key material of keyslot 1, which no digest of the header covers.
    const image = await readFile(disk.device);
    const { header: found } = parseLuksHeader([{ at: 0, asked: image.length, bytes: image }], true);
    const { '1': area } = (found?.version === 2 && keyslotAreas(found.metadata)) || {};
    const at = (area?.at ?? assert.fail()) + 4096;
    await using file = await open(disk.device, 'r+');
    await file.write(Buffer.alloc(512, 0xa5), 0, 512, at);
    await begin();
    const key = await boot();
    const rotten = await readFile(disk.device);
    assert.deepEqual([await opensCopy(key), await opensCopy(passphrase)], [true, false]);
    await assert.rejects(
      rotate(),
      /recovery passphrase is damaged .*write back the header .*Nothing was written/,
    );
    assert.deepEqual(
      [rotten.equals(await readFile(disk.device)), (await stored()).rotation?.headerDigest],
      [true, null],
    );
    const restored = join(dir, 'header.img');
    await writeFile(restored, await recovered((await escrow()).header), { mode: 0o600 });
    await run(
      'cryptsetup',
      ['luksHeaderRestore', '--batch-mode', '--header-backup-file', restored, disk.device],
      {
        timeoutMs: 20_000,
        maxOutputBytes: 4096,
      },
    );
    assert.equal(await opensCopy(passphrase), true);
    await boot();
    assert.match(await rotate(), /has its next key/);
    assert.equal(await opensCopy(passphrase), true);
    const { recoverySlotDigest } = await stored();
    {
      // As of a volume that was formatted before servers kept it: the first one is taken as it is.
      using database = new DatabaseSync(join(world.stateDir, 'assay.db'));
      database.exec('update volumes set recovery_slot_digest = null');
    }
    await begin();
    await boot();
    assert.match(await rotate(), /has its next key/);
    assert.equal((await stored()).recoverySlotDigest, recoverySlotDigest);
  });

  it('stays as it is in a boot that may have the next key of a rotation that was called off since (row 446)', async () => {
    await begin();
    await boot();
    const image = await readFile(disk.device);
    await world.call('DELETE', `/v1/volumes/${uuid}/rotate`);
    await begin();
    await assert.rejects(rotate(), /then the next boot/);
    assert.equal((await stored()).rotation?.headerDigest, null);
    assert(image.equals(await readFile(disk.device)));
    await boot();
    assert.match(await rotate(), /has its next key/);
    assert.equal(await disk.opens(await boot()), true);
  });

  it('is recovered by the identity of its own installation alone, by assay and by age (row 444)', async () => {
    const other = await generateIdentity();
    const files = { 'own.txt': identity, 'other.txt': other, ...(await escrow()) };
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text, { mode: 0o600 });
    const recover = (line: string) =>
      runAssay(['disk', 'recover', ...line.split(' ')], { env: {}, cwd: dir });
    const byAge = (file: string, name: string) =>
      run('age', ['--decrypt', '-i', join(dir, name), join(dir, file)], {
        timeoutMs: 20_000,
        maxOutputBytes: 4 * 1024 * 1024,
      });
    for (const file of ['recovery', 'header']) {
      const { code, out, err } = await recover(`${file} --identity other.txt -f made`);
      assert.deepEqual([code, out, existsSync(join(dir, 'made'))], [1, '', false]);
      assert.match(err, new RegExp(`other recipients than ${await identityToRecipient(other)}\\n`));
      assert.match(err, /another installation[\s\S]*assay disk list -o wide/);
      await assert.rejects(byAge(file, 'other.txt'), /no identity matched/);
    }
    assert.equal((await recover('recovery --identity own.txt')).out, `${passphrase}\n`);
    assert.deepEqual((await byAge('recovery', 'own.txt')).stdout, passphrase);
    const volumes = listOf(volumeView).parse(await world.call('GET', '/v1/volumes'));
    const own = [await identityToRecipient(identity)];
    assert.deepEqual(volumes.items[0]?.recipients, { passphrase: own, header: own, policy: own });
  });

  it('is not asked for where no rotation is due', async () => {
    await boot();
    const releases = (await entries('key.release')).length;
    await rm(rotationMark(disk.config.runtimeDir, uuid), { force: true });
    assert.equal(await rotate(), '');
    assert.equal((await entries('key.release')).length, releases);
  });

  it('goes with the disk to the TPM that the node has now, also where its replacement was cut off', async () => {
    await begin();
    const earlier = await boot();
    const cut = rotate(async (file, piece, at) => {
      await file.write(piece, 0, piece.length, at);
      throw new Error('the board died');
    });
    await assert.rejects(cut, /the board died/);
    assert.equal(typeof (await stored()).rotation?.headerDigest, 'string');
    await using exchanged = new AsyncDisposableStack();
    const other = await startMachine({ log });
    exchanged.defer(() => other.dispose());
    const moved = exchanged.use(
      await unlockingMachine(other, node, agentsOf(world), programs['assay-agent']),
    );
    await writeFile(moved.device, await readFile(disk.device));
    const ek = await ekDigestOf(other);
    await world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'another board' });
    await world.call('POST', '/v1/pins', { pins: [{ node, ek }] });
    {
      await using _agent = await startAgent(other, node, agentsOf(world));
      await until(async () => {
        const shown = await world.call('GET', `/v1/nodes/${node}`).catch(() => null);
        return shown !== null && nodeView.parse(shown).state === 'trusted';
      });
    }
    {
      await using program = moved.unlock(uuid);
      assert.equal((await program.read()).length, 0);
      assert.match((await program.ended).said, /key_subject_mismatch/);
    }
    await assert.rejects(begin(), /is of another TPM than node-1 has now/);
    await world.call('POST', `/v1/volumes/${uuid}/rotate`, { ek });
    await assert.rejects(begin(), /is being replaced since/);
    await other.powerCycle(log);
    {
      await using program = moved.unlock(uuid);
      assert.deepEqual(await program.read(), earlier, 'the disk has no other key yet');
    }
    const { code, said } = await moved.rotate(uuid);
    assert.equal(code, 0, said);
    await other.powerCycle(log);
    await using program = moved.unlock(uuid);
    const next = await program.read();
    assert.deepEqual(
      [await moved.opens(next), await moved.opens(earlier), await moved.opens(passphrase)],
      [true, false, true],
    );
  });
});
