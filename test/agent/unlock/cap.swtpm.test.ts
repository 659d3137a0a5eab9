import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { pino } from 'pino';
import { readPiece } from '../../../agent/inspect/read-device.ts';
import { capTools, runCap } from '../../../agent/unlock/cap.ts';
import { writeNote } from '../../../agent/unlock/note.ts';
import { parseLuksHeader } from '../../../attest-server/wire/luks-header.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';

const volume = '11111111-2222-4333-8444-555555555555';
const keySocket = '/run/cryptsetup-keys.d/docker.key';
const good = '0 32768 crypt aes-xts-plain64 :64:logon:key 0 8:1 32768';

describe('the cap of a boot', function () {
  this.timeout(30_000);
  let machine: FixtureMachine;
  let dir: string;
  let digest: string;
  before(async () => {
    machine = await startMachine({ log: recordedLog('debian13-sdboot-uki') });
  });
  after(() => machine?.dispose());
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-cap-'));
    const [disk, sys] = [join(dir, 'dev/sda1'), join(dir, 'sys/class/block')];
    for (const folder of [
      'dev',
      'sys/class/block/sda1',
      'sys/class/block/dm-0/dm',
      'sys/class/block/dm-0/slaves/sda1',
      'etc',
      'run',
    ])
      await mkdir(join(dir, folder), { recursive: true });
    await writeFile(disk, '');
    await truncate(disk, 32 * 1024 * 1024);
    await run(
      'cryptsetup',
      [
        ...['luksFormat', '--batch-mode', '--type', 'luks2', '--uuid', volume, '--cipher', 'aes-xts-plain64'],
        ...['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--key-file', '-', disk],
      ],
      { input: Buffer.alloc(32, 1), timeoutMs: 20_000, maxOutputBytes: 65_536 },
    );
    const bytes = await readPiece({ path: disk, at: 0, asked: 65_536, direct: false });
    digest = parseLuksHeader([{ at: 0, asked: bytes.length, bytes }], true).header?.digest ?? '';
    await writeFile(join(dir, 'etc/crypttab'), `docker UUID=${volume} ${keySocket} luks,_netdev\n`);
    await writeFile(join(sys, 'sda1/dev'), '8:1\n');
    await writeFile(join(sys, 'dm-0/dev'), '253:0\n');
    await writeFile(join(sys, 'dm-0/dm/name'), 'docker\n');
    await writeFile(join(sys, 'dm-0/dm/uuid'), `CRYPT-LUKS2-${volume.replaceAll('-', '')}-docker\n`);
  });
  afterEach(() => rm(dir, { recursive: true }));

  async function cap({ table = good, header = digest, closes = true, noted = true, notify = '' } = {}) {
    const closed: string[] = [];
    const lines: string[] = [];
    const logged: string[] = [];
    const runtimeDir = join(dir, 'run');
    if (noted) await writeNote(runtimeDir, { leaseId: 'ab'.repeat(16), volume, expectedHeaders: [header] });
    const before = await pcr15();
    const code = await runCap(
      {
        node: 'node-1',
        servers: [{ host: '127.0.0.1', port: 1 }],
        caFile: join(dir, 'ca.crt'),
        tcti: machine.tpm.tcti,
        volume: null,
        stateDir: join(dir, 'state'),
        runtimeDir,
        capDir: join(dir, 'cap'),
        timeout: 20_000,
        sysroot: dir,
        logLevel: 'silent',
      },
      {
        logger: pino({}, { write: (line) => void logged.push(JSON.parse(line).code) }),
        signal: new AbortController().signal,
        print: (line) => lines.push(line),
        environment: notify === '' ? {} : { NOTIFY_SOCKET: notify },
        tools: {
          readPiece: (piece) => readPiece({ ...piece, direct: false }),
          dmsetup: async () => `docker: ${table}\n`,
          async close(mapping) {
            closed.push(mapping);
            if (!closes) throw new Error('device is busy');
          },
        },
      },
    );
    const after = await pcr15();
    const moved = Object.keys(after).filter((bank) => Reflect.get(after, bank) !== Reflect.get(before, bank));
    return { code, closed, logged, said: lines.join(''), moved: moved.length === Object.keys(after).length };
  }

  async function pcr15(): Promise<Readonly<Record<string, string>>> {
    await using tpm = await openTpm({ tcti: machine.tpm.tcti });
    const { banks } = await tpm.readCapabilities();
    const values = await tpm.readPcrs(Object.fromEntries(banks.map((bank) => [bank, [15]])));
    return Object.fromEntries(banks.map((bank) => [bank, values[bank]?.toString('hex') ?? '']));
  }

  it('moves each bank, and lets a volume be that is what it was, also without a server', async () => {
    const { code, closed, moved } = await cap();
    assert.deepEqual([code, closed, moved], [0, [], true]);
    assert.equal((await cap()).moved, false, 'once a boot');
  });

  it('lets the boot go on once each volume is what it was, and not before', async () => {
    const path = join(dir, 'notify');
    // As systemd does: what follows is a barrier, which ends once it was received.
    const program =
      'my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]); $s->recv($_, 4096); $s->recv(my $barrier, 4096); print';
    const heard = run('perl', ['-MIO::Socket::UNIX', '-e', program, path], {
      timeoutMs: 20_000,
      maxOutputBytes: 65_536,
    });
    while (!existsSync(path)) await sleep(10);
    assert.equal((await cap({ table: '0 32768 linear 8:1 32768', notify: path })).code, 1);
    assert.equal((await cap({ notify: path })).code, 0);
    assert.equal(String((await heard).stdout), 'READY=1');
  });

  for (const [what, change, why] of [
    ['another header', { header: 'cd'.repeat(32) }, 'another one than before'],
    ['a null cipher', { table: good.replace('aes-xts-plain64', 'cipher_null-ecb') }, 'its cipher is'],
    ['another cipher', { table: good.replace('aes-xts', 'aes-cbc') }, 'its cipher is'],
    ['another device', { table: good.replace('8:1', '8:2') }, 'mapped from device 8:2'],
    ['another begin', { table: good.replace('8:1 32768', '8:1 0') }, 'begin elsewhere'],
    ['no encryption', { table: '0 32768 linear 8:1 32768' }, 'mapped by linear'],
    ['a second line', { table: `${good}\ndocker: ${good}` }, '2 lines'],
  ] as const)
    it(`closes a volume with ${what}, and ends with 1 in a capped boot (row 426)`, async () => {
      const { code, closed, said, moved } = await cap(change);
      assert.deepEqual([code, closed, moved], [1, ['docker'], true]);
      assert.ok(said.includes(why), said);
    });

  it('leaves a volume open whose key was being replaced when that program was killed between the copies of its header (row 443)', async () => {
    const disk = join(dir, 'dev/sda1');
    const before = (await readFile(disk)).subarray(0, 32 * 1024);
    await run(
      'cryptsetup',
      ['luksAddKey', '--batch-mode', '--key-file', '-', '--keyfile-size', '32', disk, '-'],
      { input: Buffer.alloc(64, 1), timeoutMs: 20_000, maxOutputBytes: 65_536 },
    );
    const after = (await readFile(disk)).subarray(0, 32 * 1024);
    const next = parseLuksHeader([{ at: 0, asked: after.length, bytes: after }], true).header?.digest ?? '';
    await writeFile(
      disk,
      Buffer.concat([before.subarray(0, 16 * 1024), (await readFile(disk)).subarray(16 * 1024)]),
    );
    const note = { leaseId: 'ab'.repeat(16), volume };
    await writeNote(join(dir, 'run'), { ...note, expectedHeaders: [digest, next] });
    const { code, closed } = await cap({ noted: false });
    assert.deepEqual([code, closed], [0, []]);
    // Attack: an older copy beside the one header that is expected, or a third one.
    for (const expectedHeaders of [[next], [digest, 'cd'.repeat(32)]]) {
      await writeNote(join(dir, 'run'), { ...note, expectedHeaders });
      assert.deepEqual((await cap({ noted: false })).closed, ['docker']);
    }
  });

  it('is made, and ends with 1, where a volume cannot be closed', async () => {
    const { code, said, moved } = await cap({ header: 'cd'.repeat(32), closes: false });
    assert.deepEqual([code, moved], [1, true]);
    assert.match(said, /volume docker cannot be closed: device is busy/);
  });

  for (const [what, leave] of [
    ['damaged', (path) => writeFile(path, '{')],
    ['a link', (path) => symlink('/dev/zero', path)],
    ['a pipe', (path) => run('mkfifo', [path], { timeoutMs: 5_000, maxOutputBytes: 1024 })],
    ['a folder', (path) => mkdir(path)],
    [
      'of another volume',
      async (path) => {
        const other = volume.replace('1', '2');
        await writeNote(join(dir, 'run'), {
          leaseId: 'ab'.repeat(16),
          volume: other,
          expectedHeaders: [digest],
        });
        await rename(path.replace(volume, other), path);
      },
    ],
  ] as const satisfies readonly (readonly [string, (path: string) => Promise<unknown>])[])
    it(`closes a volume whose note is ${what}, and ends with 1 in a capped boot (row 427)`, async () => {
      const path = join(dir, 'run', `${volume}.opened.json`);
      await leave(path);
      const { code, closed, said, moved } = await cap({ noted: false });
      assert.deepEqual([code, closed, moved], [1, ['docker'], true]);
      assert.ok(said.includes(path), said);
    });

  describe('of a volume without a note, which is open by its recovery passphrase, or whose note was taken away', () => {
    it('lets it be what its header says, and says that no lease opened it', async () => {
      const { code, closed, said, logged, moved } = await cap({ noted: false });
      assert.deepEqual([code, closed, moved], [0, [], true]);
      assert.match(said, /volume docker is open without a lease/);
      assert.ok(logged.includes('opened_without_lease'), logged.join());
    });

    for (const [what, table, why] of [
      ['a null cipher', good.replace('aes-xts-plain64', 'cipher_null-ecb'), 'its cipher is'],
      ['no encryption', '0 32768 linear 8:1 32768', 'mapped by linear'],
      ['another device', good.replace('8:1', '8:2'), 'mapped from device 8:2'],
    ] as const)
      it(`closes it with ${what}, and ends with 1 (row 408)`, async () => {
        const { code, closed, said } = await cap({ noted: false, table });
        assert.deepEqual([code, closed], [1, ['docker']]);
        assert.ok(said.includes(why), said);
      });

    it('closes it where its header is damaged or of another volume, or it is no volume of LUKS2 (row 408)', async () => {
      const disk = join(dir, 'dev/sda1');
      const closes = async (why: RegExp) => {
        const { code, closed, said } = await cap({ noted: false, table: good });
        assert.deepEqual([code, closed], [1, ['docker']]);
        assert.match(said, why);
      };
      const uuid = join(dir, 'sys/class/block/dm-0/dm/uuid');
      await writeFile(uuid, `CRYPT-LUKS2-${'1'.repeat(32)}-docker\n`);
      await closes(/its header is of another volume/);
      for (const other of [
        'CRYPT-PLAIN-docker',
        `CRYPT-LUKS1-${volume.replaceAll('-', '')}-docker`,
        'LVM-1',
      ]) {
        await writeFile(uuid, `${other}\n`);
        await closes(/it is no volume of LUKS2/);
      }
      await writeFile(uuid, `CRYPT-LUKS2-${volume.replaceAll('-', '')}-docker\n`);
      await writeFile(disk, Buffer.alloc(32 * 1024 * 1024));
      await closes(/its header cannot be read/);
    });
  });

  it('is made where a volume is not open, and says what to do', async () => {
    await writeFile(
      join(dir, 'etc/crypttab'),
      `data UUID=${volume} ${keySocket.replace('docker', 'data')}\n`,
    );
    const { code, closed, said, logged, moved } = await cap({ noted: false });
    assert.deepEqual([code, closed, moved], [0, [], true]);
    assert.match(said, /volume data is not open.*\n.*journalctl .*\n.*recovery passphrase/);
    assert.ok(logged.includes('not_opened'), logged.join());
  });

  it('looks at the volumes alone whose keys come from its sockets, by crypttab', async () => {
    const crypttab = join(dir, 'etc/crypttab');
    const wrong = { table: '0 32768 linear 8:1 32768', noted: false };
    for (const text of [
      '',
      '# docker UUID=1 /run/cryptsetup-keys.d/docker.key\n',
      'docker UUID=1 none luks\n',
      'docker UUID=1 /etc/key luks',
    ]) {
      await writeFile(crypttab, text);
      assert.deepEqual((await cap(wrong)).closed, [], text);
    }
    // systemd finds a key there also where crypttab names none.
    await mkdir(join(dir, 'run/cryptsetup-keys.d'));
    await writeFile(join(dir, keySocket), '');
    for (const text of ['docker UUID=1', 'docker UUID=1 none luks', '\tdocker  UUID=1  -  luks\n']) {
      await writeFile(crypttab, text);
      assert.deepEqual((await cap(wrong)).closed, ['docker'], text);
    }
  });

  it('closes a volume beside which another one of its UUID is open, whoever opened that', async () => {
    const second = join(dir, 'sys/class/block/dm-1');
    await mkdir(join(second, 'dm'), { recursive: true });
    await writeFile(join(second, 'dev'), '253:1\n');
    await writeFile(join(second, 'dm/name'), 'clone\n');
    await writeFile(join(second, 'dm/uuid'), `CRYPT-LUKS2-${volume.replaceAll('-', '')}-clone\n`);
    const { code, closed, said } = await cap();
    assert.deepEqual([code, closed], [1, ['docker']]);
    assert.match(said, /another disk has its UUID/);
  });

  it('is made, and fails, where not every device can be looked at', async () => {
    await writeFile(join(dir, 'sys/class/block/dm-0/dev'), 'damaged\n');
    const before = await pcr15();
    await assert.rejects(cap(), /not every device can be looked at: dm-0/);
    assert.notDeepEqual(await pcr15(), before);
  });

  it('takes a name that looks like an option for a name', async () => {
    await assert.rejects(capTools.close('--help'), { code: 'failed' });
  });
});
