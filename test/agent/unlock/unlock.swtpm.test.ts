import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { pino } from 'pino';
import { formatVolume } from '../../../agent/unlock/format.ts';
import { headerOn } from '../../../agent/unlock/header.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { type UnlockingMachine, unlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';
import { agentsOf, ekDigestOf } from '../../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../../attest-server/running-server.ts';
import { smallDisk } from '../../attest-server/small-disk.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { until, volumeFor, writeKeySettings } from './volume-for.ts';

const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');

describe('a machine with an encrypted disk', function () {
  this.timeout(60_000);
  let dir: string;
  let world: TestServer;
  let machine: FixtureMachine;
  let disk: UnlockingMachine;
  let uuid: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-unlock-policy-'));
    const settings = await writeKeySettings(dir);
    [world, machine] = await Promise.all([startTestServer(settings), startMachine({ log })]);
    uuid = await volumeFor(machine, node, agentsOf(world), world.call);
    disk = await unlockingMachine(machine, node, agentsOf(world), programs['assay-agent']);
  });
  after(async () => {
    await disk?.[Symbol.asyncDispose]();
    await machine?.dispose();
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const entries = async (action: string) => (await world.audit()).filter((entry) => entry.action === action);

  it('gets no key before the disk is formatted, and is told how', async () => {
    await using program = disk.unlock(uuid);
    assert.deepEqual(await program.read(), Buffer.alloc(0));
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(said, /is not formatted yet: assay-agent format --volume/);
  });

  /** What `assay why` shows of its refused keys. */
  const refusedKeys = async () => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`)).refusedKeys;

  it('gets none for a volume that nobody made, and is told to compare its UUID', async () => {
    const unknown = randomUUID();
    await using program = disk.unlock(unknown);
    assert.deepEqual(await program.read(), Buffer.alloc(0));
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(
      said,
      /got no key of volume \S+: key_subject_mismatch: .*\n.*Compare the UUID.*\n.*assay disk list/,
    );
    const [refused] = await refusedKeys();
    assert.deepEqual([refused?.volume, refused?.name], [unknown, null]);
    assert.match(refused?.text ?? '', /knows no volume of this UUID/);
    assert.match(refused?.next ?? '', /Compare the UUID/);
    assert.equal((await entries('key.refuse')).at(-1)?.detail.text, refused?.text);
  });

  it('is not formatted on a disk that fails meanwhile, and goes on with the same volume on another', async function () {
    await using small = (await smallDisk(1)) ?? this.skip();
    const device = join(small.path, 'disk');
    await writeFile(device, '');
    await truncate(device, 64 * 1024 * 1024);
    await assert.rejects(
      disk.format(uuid, device),
      /cannot be written \(ENOSPC.*gone or broken.*journalctl --dmesg.*is not formatted: .*type the same again/,
    );
    assert.equal((await world.store.leases.volume(uuid))?.formattedAt, null);
  });

  it('is formatted though power was cut while an earlier attempt wrote its header, wherever that was', async () => {
    const [whole, device] = [join(dir, 'whole'), join(dir, 'cut')];
    const header = async (of: string) => {
      await truncate(whole, 64 * 1024 * 1024);
      await luksFormat(whole, '--uuid', of);
      return (await readFile(whole)).subarray(0, 1024 * 1024);
    };
    await writeFile(whole, '');
    const [own, foreign] = [await header(uuid), await header(randomUUID())];
    const without = (begin: number, end: number) => Buffer.from(own).fill(0, begin, end);
    for (const [begin, isOurs] of [
      [own.subarray(0, 512), true],
      [own.subarray(0, 20_000), true],
      [own, true],
      // Of what comes after the first sector, disks write any part first.
      [without(512, 20_512), true],
      [without(0, 512), false],
      [foreign, false],
      [foreign.subarray(0, 512), false],
    ] as const) {
      await writeFile(device, begin);
      await truncate(device, 64 * 1024 * 1024);
      const said: string[] = [];
      const over = new AbortController();
      const print = (line: string) => {
        said.push(line);
        over.abort();
      };
      const formatting = formatVolume({ ...disk.config, volume: uuid }, device, {
        logger: pino({ level: 'silent' }),
        signal: over.signal,
        print,
      });
      await assert.rejects(formatting, isOurs ? /was aborted/ : /is not blank: .* Nothing was written/);
      assert.equal(said.length, isOurs ? 1 : 0);
    }
  });

  it('is formatted once, and the server has the header before', async () => {
    await chmod(disk.config.stateDir, 0o755);
    const lines = await disk.format(uuid);
    assert.match(lines.join(''), /is formatted on/);
    // Root formats, and the state is that of the user who unlocks.
    await chmod(disk.config.stateDir, 0o700);
    const [volume] = await world.store.leases.volumes();
    assert.match(volume?.headerDigest ?? '', /^[0-9a-f]{64}$/);
    await assert.rejects(disk.format(uuid), /is formatted: nothing was written/);
  });

  it('gets its key after a reboot, and the key opens the disk', async () => {
    await machine.powerCycle(log);
    await using program = disk.unlock(uuid);
    const key = await program.read();
    const { code, said } = await program.ended;
    assert.deepEqual([code, key.length], [0, 32], said);
    assert.equal(await disk.opens(key), true);
    assert.equal(said.includes(key.toString('hex')) || said.includes(key.toString('base64')), false);
    assert.deepEqual((await readdir(disk.config.runtimeDir)).length, 1, 'for cap');
  });

  it('opens nothing by its key where the keyslot is damaged, of which the header says nothing', async () => {
    await using program = disk.unlock(uuid);
    const key = await program.read();
    await using file = await open(disk.device, 'r+');
    const slot = Buffer.alloc(4096);
    await file.read(slot, 0, slot.length, 32_768);
    await file.write(Buffer.alloc(slot.length), 0, slot.length, 32_768);
    assert.equal(await disk.opens(key), false);
    await file.write(slot, 0, slot.length, 32_768);
    assert.equal(await disk.opens(key), true);
  });

  it('asks again after a crash between key and disk, and gets it, five times in a boot (rows 87 and 432)', async () => {
    for (let delivery = 3; delivery <= 5; delivery++) {
      await using program = disk.unlock(uuid);
      assert.equal((await program.read()).length, 32);
    }
    await using program = disk.unlock(uuid);
    assert.equal((await program.read()).length, 0);
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(said, /got no key of volume \S+: lease_exhausted: .*\n.*reboot it.*\n.*journalctl/);
    assert.match(said, /The recovery passphrase opens it/);
    assert.deepEqual(
      (await refusedKeys()).map(({ name, code }) => [name, code]),
      [['docker', 'lease_exhausted']],
    );
    assert.equal((await entries('key.refuse')).at(-1)?.code, 'lease_exhausted');
    await machine.powerCycle(log);
  });

  it('gets none once it is capped, until it boots again (row 88)', async () => {
    assert.equal(await disk.cap(), 0);
    assert.equal(await disk.cap(), 0, 'a second time does nothing');
    await using program = disk.unlock(uuid);
    assert.equal((await program.read()).length, 0);
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(said, /lease_consumed/);
    await machine.powerCycle(log);
    await using next = disk.unlock(uuid);
    assert.equal((await next.read()).length, 32);
  });

  it('gets none with a kernel that nobody knows: the time passes, and the passphrase is asked for', async () => {
    await machine.powerCycle(tamper(log, 'kernel'));
    await using program = disk.unlock(uuid, { timeout: 8 });
    assert.equal((await program.read()).length, 0);
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(said, /key_withheld: the server gives no key to this boot/);
    assert.match(said, /The recovery passphrase opens it/);
    assert.match(String((await entries('key.refuse')).at(-1)?.detail.text), /boot not affirmed/);
  });

  it('gets none for a disk with another header, which is read before the key is used (row 107)', async () => {
    await machine.powerCycle(log);
    const other = join(dir, 'other');
    await run('truncate', ['--size', '64M', other], { timeoutMs: 5_000, maxOutputBytes: 1024 });
    await luksFormat(other);
    await using program = disk.unlock(uuid, { device: other });
    assert.equal((await program.read()).length, 0);
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(said, /another header than the one that is known/);
  });

  it('reads the header of no disk that fails, and says so', async () => {
    // Nothing is mapped at its begin: the kernel answers EIO.
    await using gone = await open('/proc/self/mem');
    await assert.rejects(headerOn(gone.fd), {
      code: 'luks_header',
      message: /cannot be read \(EIO.*gone or broken.*journalctl --dmesg/,
    });
  });

  it('hands nothing to a second reader, nor by descriptors of other names (row 425)', async () => {
    await using program = disk.unlock(uuid);
    const first = program.read();
    const second = await program.read();
    assert.equal(second.length, 0);
    assert.equal((await first).length, 32);
    await using unnamed = disk.unlock(uuid, { name: 'other' });
    assert.equal((await unnamed.read()).length, 0);
    const { code, said } = await unnamed.ended;
    assert.equal(code, 1);
    assert.match(said, /no socket named key/);
  });

  it('ends the connection where its settings are faulty, so that the passphrase is asked for', async () => {
    await using program = disk.unlock(uuid, { environment: { ASSAY_UNLOCK_TIMEOUT: 'soon' } });
    const socket = await program.connect();
    const bytes: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => bytes.push(chunk));
    // One that nobody takes is reset.
    await once(socket, 'end');
    assert.deepEqual(bytes, []);
    const { code, said } = await program.ended;
    assert.equal(code, 2);
    assert.match(
      said,
      /^assay-unlock: no key, since the settings are faulty.*The recovery passphrase opens/m,
    );
    assert.match(said, /ASSAY_UNLOCK_TIMEOUT, --timeout\): not a whole number of seconds/);
  });

  it('ends the connection where something is wrong here, so that the passphrase is asked for', async () => {
    await using program = disk.unlock(uuid, { device: '/dev/null' });
    const socket = await program.connect();
    // One that nobody takes is reset.
    await once(socket.resume(), 'end');
    const { code, said } = await program.ended;
    assert.equal(code, 1);
    assert.match(said, /^assay-unlock: node-1 got no key .*standard input is no device/m);
  });

  it('gets none once its TPM was cleared, until a person approves it again, and then by a clock that began at 0 (row 433)', async () => {
    await run('tpm2_clear', [], {
      timeoutMs: 20_000,
      maxOutputBytes: 65_536,
      env: { TPM2TOOLS_TCTI: machine.tpm.tcti },
    });
    await machine.powerCycle(log);
    const before = (await entries('key.refuse')).length;
    {
      await using program = disk.unlock(uuid);
      await program.connect();
      await until(async () => (await entries('key.refuse')).length > before);
    }
    const [refused] = await refusedKeys();
    assert.equal(refused?.code, 'key_withheld');
    assert.match(refused?.text ?? '', /identity not affirmed: counter_rollback: /);
    await world.call('POST', `/v1/enrolments/${node}/approve`, { ek: await ekDigestOf(machine) });
    await using program = disk.unlock(uuid);
    const key = await program.read();
    assert.equal(await disk.opens(key), true, (await program.ended).said);
  });
});

async function luksFormat(device: string, ...options: readonly string[]): Promise<void> {
  const quickly = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  await run('cryptsetup', ['luksFormat', '--batch-mode', ...quickly, '--key-file', '-', ...options, device], {
    input: randomBytes(32),
    timeoutMs: 60_000,
    maxOutputBytes: 65_536,
  });
}
