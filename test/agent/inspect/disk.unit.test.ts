import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cp, link, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { deviceOf } from '../../../agent/inspect/block-devices.ts';
import { diskTools, inspectDisk } from '../../../agent/inspect/disk.ts';
import { parseInspectedFile } from '../../../agent/inspect/inspected-file.ts';
import { parseKeyResidue } from '../../../agent/inspect/key-residue.ts';
import { parseMappingTables, withoutKeys } from '../../../agent/inspect/mapping-tables.ts';
import { readPiece } from '../../../agent/inspect/read-device.ts';
import { cryptsetup, luksImage, MadeMachine, overwrite, quick } from './made-machine.ts';

const now = new Date('2026-11-26T10:00:00Z');
const uuid = 'aaaaaaaa-0000-4000-8000-000000000001';
const compact = uuid.replaceAll('-', '');

describe('what inspect says of disks', () => {
  let machine: MadeMachine;
  beforeEach(async () => {
    machine = await MadeMachine.make();
  });
  afterEach(() => machine[Symbol.asyncDispose]());

  /** As the agent will read it. */
  const inspected = async (tools = diskTools) => {
    const file = await inspectDisk(machine.root, now, tools);
    return parseInspectedFile(Buffer.from(JSON.stringify(file)));
  };
  const volume = async (name: string, device: string, args: readonly string[] = []) => {
    await machine.device(name, device);
    return luksImage(machine.at(`dev/${name}`), { args: ['--uuid', uuid, ...args] });
  };

  it('is the header of each volume by its device, and nothing of other devices', async () => {
    await volume('sda1', '8:1');
    await machine.device('sdb', '8:16');
    await luksImage(machine.at('dev/sdb'), { type: 'luks1' });
    await machine.device('sdc', '8:32');
    await machine.put('dev/sdc', Buffer.alloc(100_000, 7));
    await machine.device('cciss!c0d0', '104:0');
    await machine.put('dev/cciss/c0d0', 'short');
    const { inspected: said } = await inspected();
    assert.equal(said.at, '2026-11-26T10:00:00.000Z');
    assert.deepEqual(said.unreadable, []);
    assert.deepEqual(
      said.headers.map(({ device, version, detachedAt }) => [device, version, detachedAt]),
      [
        ['8:1', 2, null],
        ['8:16', 1, null],
      ],
    );
    assert.equal(said.headers[0]?.uuid, uuid);
    assert.deepEqual(said.headers[1]?.luks1?.activeSlots, [0]);
  });

  it('shows two volumes of one UUID as they are', async () => {
    await volume('sda', '8:0');
    await machine.device('sdb', '8:16');
    await cp(machine.at('dev/sda'), machine.at('dev/sdb'));
    const { headers } = (await inspected()).inspected;
    assert.deepEqual(
      headers.map((header) => [header.device, header.uuid]),
      [
        ['8:0', uuid],
        ['8:16', uuid],
      ],
    );
    assert.equal(headers[0]?.digest, headers[1]?.digest);
  });

  it('names a header of which one copy is damaged, and shows the other one', async () => {
    await volume('sda', '8:0');
    await overwrite(machine.at('dev/sda'), 100, Buffer.from('x'));
    const { headers, unreadable } = (await inspected()).inspected;
    assert.deepEqual([headers[0]?.uuid, unreadable.length, unreadable[0]?.device], [uuid, 1, '8:0']);
    assert.match(unreadable[0]?.cause ?? '', /first LUKS2 header .* checksum/);
    await overwrite(machine.at('dev/sda'), 16_384 + 100, Buffer.from('x'));
    const both = (await inspected()).inspected;
    assert.deepEqual([both.headers.length, both.unreadable.length], [0, 2]);
  });

  it('names devices that are gone, are suspended, hang, or are something else, and reads the others', async () => {
    await volume('sda', '8:0');
    await machine.device('sdb', '8:16');
    await machine.device('sdc', '8:32');
    await machine.put('dev/sdc', '');
    await machine.mapping('dm-0', '253:0', 'LVM-x', []);
    await machine.put('sys/class/block/dm-0/dm/suspended', '1\n');
    await machine.device('sdd', '8:48');
    execFileSync('mkfifo', [machine.at('dev/sdd')]);
    await machine.device('sde', '8:64');
    await rm(machine.at('sys/class/block/sde/dev'));
    await machine.device('sdf', 'nonsense');
    const hangs = (path: string) => path.endsWith('sdc');
    const { inspected: said } = await inspected({
      ...diskTools,
      readPiece: (piece) =>
        hangs(piece.path)
          ? Promise.reject(new ToolError('late', { code: 'timeout', tool: 'dd', signal: null }))
          : readPiece(piece),
    });
    assert.equal(said.headers.length, 1);
    assert.deepEqual(said.unreadable.map(({ device }) => device).sort(), [
      '0:0',
      '253:0',
      '8:16',
      '8:32',
      '8:48',
    ]);
  });

  it('waits for no device for ever', async () => {
    execFileSync('mkfifo', [machine.at('fifo')]);
    const piece = { path: machine.at('fifo'), at: 0, asked: 4096, direct: false, within: 200 };
    await assert.rejects(readPiece(piece), { code: 'timeout' });
  });

  it('holds as many headers as its form has places, those of open volumes first, and names the rest', async () => {
    await volume('template', '1:1');
    for (let index = 0; index < 70; index++) {
      await machine.device(`sd${index}`, `8:${index}`);
      await link(machine.at('dev/template'), machine.at(`dev/sd${index}`));
    }
    await machine.mapping('dm-0', '253:0', `CRYPT-LUKS2-${compact}-x`, ['sd69']);
    const { headers, unreadable } = (await inspected()).inspected;
    assert.deepEqual([headers.length, headers[0]?.device, unreadable.length], [64, '8:69', 7]);
  });

  describe('of a volume whose header is detached', () => {
    beforeEach(async () => {
      await machine.device('sda', '8:0');
      await machine.put('dev/sda', Buffer.alloc(1 << 20, 1));
      await machine.mapping('dm-0', '253:0', `CRYPT-LUKS2-${compact}-docker`, ['sda'], 'docker');
      await mkdir(machine.at('etc'));
      const header = machine.at('etc/header');
      const args = ['--type', 'luks2', ...quick, '--uuid', uuid, '--header', header];
      await cryptsetup('luksFormat', ...args, machine.at('dev/sda'));
    });
    const seen = async () => {
      const { headers, unreadable } = (await inspected()).inspected;
      return [headers.map(({ device, detachedAt }) => [device, detachedAt]), unreadable.length];
    };

    it('is what crypttab names, if it is its own', async () => {
      assert.deepEqual(await seen(), [[], 0]);
      await machine.put('etc/crypttab', '# a comment\ndocker /dev/sda none luks,header=/etc/header\n');
      assert.deepEqual(await seen(), [[['8:0', '/etc/header']], 0]);
      await luksImage(machine.at('etc/header'));
      assert.deepEqual(await seen(), [[], 1]);
    });

    it('is what the unit says that systemd made of the kernel’s command line', async () => {
      await machine.put(
        'run/systemd/generator/systemd-cryptsetup@docker.service',
        "[Service]\nExecStart=/usr/bin/systemd-cryptsetup attach 'docker' '/dev/sda' 'none' 'header=/etc/header,luks'\n",
      );
      assert.deepEqual(await seen(), [[['8:0', '/etc/header']], 0]);
    });

    it('is that of another device with its UUID that no volume is open on', async () => {
      await machine.device('sdb', '8:16');
      await cp(machine.at('etc/header'), machine.at('dev/sdb'));
      assert.deepEqual(await seen(), [
        [
          ['8:0', '/dev/sdb'],
          ['8:16', null],
        ],
        0,
      ]);
      await machine.mapping('dm-1', '253:1', `CRYPT-LUKS2-${compact}-other`, ['sdb']);
      assert.deepEqual(await seen(), [[['8:16', null]], 0]);
    });

    it('is none where the path leads nowhere or out of the root', async () => {
      await machine.put('etc/crypttab', 'docker /dev/sda none header=/etc/nothing\n');
      assert.deepEqual(await seen(), [[], 1]);
      await symlink('/etc/hostname', machine.at('etc/out'));
      await machine.put('etc/crypttab', 'docker /dev/sda none header=/etc/out\n');
      assert.deepEqual(await seen(), [[], 1]);
    });
  });

  it('does not take a volume on integrity for one without a header', async () => {
    await volume('sda', '8:0');
    await machine.mapping('dm-0', '253:0', `CRYPT-SUBDEV-${compact}-x_dif`, ['sda'], 'x_dif');
    await machine.mapping('dm-1', '253:1', `CRYPT-LUKS2-${compact}-x`, ['dm-0'], 'x');
    await machine.put('etc/crypttab', 'x /dev/sda none header=/nowhere\n');
    const { headers, unreadable } = (await inspected()).inspected;
    assert.deepEqual([headers.map(({ device }) => device), unreadable], [['8:0'], []]);
  });

  describe('of live mappings', () => {
    const tableOf = (key: string) => `0 491520 crypt aes-xts-plain64 ${key} 0 8:0 32768`;
    beforeEach(async () => {
      await machine.mapping('dm-0', '253:0', `CRYPT-LUKS2-${compact}-a: b`, [], 'a: b');
      await machine.mapping('dm-1', '253:1', 'LVM-x', [], 'a');
      await machine.put(
        'proc/sys/kernel/random/boot_id',
        await readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      );
    });

    it('is each table by its device, as dmsetup prints it, without a key', async () => {
      const dmsetup = async () =>
        `a: b: ${tableOf('0'.repeat(128))}\na: 0 8 linear 253:0 2048\na: 8 8 linear 253:0 4096\n`;
      const { tables, tablesUnread } = await inspected({ ...diskTools, dmsetup });
      assert.deepEqual(tables, {
        '253:0': [tableOf(':64:')],
        '253:1': ['0 8 linear 253:0 2048', '8 8 linear 253:0 4096'],
      });
      assert.equal(tablesUnread, null);
    });

    it('asks dmsetup for no key', async () => {
      const asked: string[] = [];
      const dmsetup = async (args: readonly string[]) => {
        asked.push(...args);
        return '';
      };
      await inspected({ ...diskTools, dmsetup });
      assert.deepEqual(asked, ['table', '--manglename', 'none']);
    });

    it('says why there is none: no dmsetup, no table of one, another machine', async () => {
      const missing = new ToolError('dmsetup is not installed', { code: 'missing_program', tool: 'dmsetup' });
      const without = await inspected({ ...diskTools, dmsetup: () => Promise.reject(missing) });
      assert.deepEqual([without.tables, without.tablesUnread], [{}, 'dmsetup is not installed']);
      const half = await inspected({ ...diskTools, dmsetup: async () => 'a: 0 8 linear 253:0 2048\n' });
      assert.deepEqual(Object.keys(half.tables), ['253:1']);
      assert.match(half.tablesUnread ?? '', /a: b/);
      await machine.put('proc/sys/kernel/random/boot_id', 'another');
      const other = await inspected({ ...diskTools, dmsetup: () => assert.fail('asked') });
      assert.match(other.tablesUnread ?? '', /another machine/);
    });
  });

  it('shows no key that a dmsetup of any age prints', () => {
    const key = 'c0ffee'.repeat(10).padEnd(128, 'a');
    for (const [printed, shown] of [
      [`0 8 crypt aes-xts-plain64 ${key} 0 8:0 0`, '0 8 crypt aes-xts-plain64 :64: 0 8:0 0'],
      ['0 8 crypt cipher_null-ecb - 0 8:0 0', '0 8 crypt cipher_null-ecb - 0 8:0 0'],
      [
        '0 8 crypt aes-xts-plain64 :64:logon:cryptsetup:x-d0 0 8:0 0',
        '0 8 crypt aes-xts-plain64 :64:logon:cryptsetup:x-d0 0 8:0 0',
      ],
      [
        `0 8 integrity 8:0 0 32 J 2 internal_hash:hmac(sha256):${key} journal_mac:sha256`,
        '0 8 integrity 8:0 0 32 J 2 internal_hash:hmac(sha256):64: journal_mac:sha256',
      ],
    ] as const)
      assert.equal(withoutKeys(printed), shown);
    assert.deepEqual(parseMappingTables('No devices found\n', ['x']).tables.size, 0);
  });

  it('names swap by its device, or by that of its file system', async () => {
    await machine.device('sda', '8:0');
    await machine.put('dev/sda', '');
    await machine.put('swap file', '');
    await machine.mapping('dm-0', '253:0', 'CRYPT-PLAIN-swap', [], 'swap');
    await machine.put(
      'proc/swaps',
      `Filename Type Size Used Priority\n/dev/sda  partition 1 0 -2\n/swap\\040file file 1 0 -3\n/dev/dm-0 partition 1 0 -4\n/gone\\040(deleted) file 1 0 -5\n`,
    );
    const { swaps } = (await inspected()).inspected;
    const { dev } = await stat(machine.root);
    assert.deepEqual(swaps, [
      { path: '/dev/sda', device: '8:0' },
      { path: '/swap file', device: deviceOf(dev) },
      { path: '/dev/dm-0', device: '253:0' },
      { path: '/gone (deleted)', device: null },
    ]);
  });

  it('names keys that were left behind, in keyrings and in /run, and not what they hold', async () => {
    await machine.mapping('dm-0', '253:0', `CRYPT-LUKS2-${compact}-x`, []);
    const line = (type: string, name: string) =>
      `0a1b2c3d I--Q---     1 perm 3f010000     0     0 ${type} ${name}\n`;
    const closed = uuid.replace('aaaa', 'bbbb');
    await machine.put(
      'proc/keys',
      line('keyring  ', '_uid.0: 1') +
        line('logon    ', `cryptsetup:${uuid}-d0: 64`) +
        line('logon    ', `cryptsetup:${closed}-d0: 64`) +
        line('user     ', `cryptsetup:${uuid}-d0: 64`) +
        line('user     ', 'cryptsetup: 12') +
        line('user     ', 'something else: 12'),
    );
    for (const path of [
      'run/cryptsetup-keys.d/docker.key',
      'run/luks-docker-key',
      'run/cryptsetup/volume.key',
      'run/cryptsetup/L_8:0',
      'run/systemd/cryptsetup-x/luks.bin',
      'run/credentials/@system/cryptsetup.passphrase',
      'run/utmp',
    ])
      await machine.put(path, 'secret', 0o600);
    const { inspected: said } = await inspected();
    assert.deepEqual(
      said.residue.filter(({ where }) => where === 'keyring').map(({ name }) => name),
      [`%logon:cryptsetup:${closed}-d0`, `%user:cryptsetup:${uuid}-d0`, '%user:cryptsetup'],
    );
    assert.deepEqual(
      said.residue.filter(({ where }) => where === 'file').map(({ name }) => name),
      [
        '/run/cryptsetup-keys.d/docker.key',
        '/run/luks-docker-key',
        '/run/cryptsetup/volume.key',
        '/run/systemd/cryptsetup-x/luks.bin',
        '/run/credentials/@system/cryptsetup.passphrase',
      ],
    );
    assert(!JSON.stringify(said).includes('secret'));
  });

  it('names no key that is no more, or that systemd keeps for some seconds only', () => {
    const line = (flags: string, left: string, name: string) =>
      `0a1b2c3d ${flags}     1 ${left.padStart(4)} 3f010000     0     0 user      ${name}: 12\n`;
    const named = (...lines: readonly string[]) =>
      parseKeyResidue(Buffer.from(lines.join('')), new Set(), new Set()).map(({ name }) => name);
    assert.deepEqual(named(line('I--Q---', '2m', 'cryptsetup'), line('I--Q---', '59s', 'cryptsetup')), []);
    assert.deepEqual(
      named(line('I--Q---', 'expd', 'cryptsetup:a'), line('IR-Q---', 'perm', 'cryptsetup:b')),
      [],
    );
    assert.deepEqual(named(line('I--Q---', '3m', 'cryptsetup'), line('I--Q---', '2m', 'cryptsetup:a')), [
      '%user:cryptsetup',
      '%user:cryptsetup:a',
    ]);
  });

  it('names the key that a token of a volume names, whatever it is called', async () => {
    const image = await volume('sda', '8:0');
    await run('cryptsetup', ['token', 'add', '--key-description', 'node:disk', image], {
      timeoutMs: 10_000,
      maxOutputBytes: 1024,
    });
    await machine.put(
      'proc/keys',
      '0a1b2c3d I--Q---     1 perm 3f010000     0     0 user      node:disk: 12\n',
    );
    const { residue } = (await inspected()).inspected;
    assert.deepEqual(residue, [{ where: 'keyring', name: '%user:node:disk' }]);
  });

  it('is not said at all where swap, keys or the list of devices cannot be read', async () => {
    await machine.put('proc/swaps', 'Filename\nwhat is this\n');
    await assert.rejects(inspected(), RangeError);
    await machine.put('proc/swaps', `Filename\n${'/x file 1 0 -2\n'.repeat(65)}`);
    await assert.rejects(inspected(), RangeError);
    await machine.put('proc/swaps', '');
    await writeFile(machine.at('proc/keys'), Buffer.alloc(5 * 1024 * 1024));
    await assert.rejects(inspected(), RangeError);
    await rm(machine.at('proc/keys'));
    await inspected();
    await rm(machine.at('sys'), { recursive: true });
    await assert.rejects(inspected(), { code: 'ENOENT' });
  });

  it('reads keys as the running kernel lists them', async () => {
    parseKeyResidue(await readFile('/proc/keys'), new Set(), new Set());
    assert.deepEqual(deviceOf(0x801), '8:1');
    assert.deepEqual(deviceOf(0x1_0000_fd05), '253:1048581');
  });
});
