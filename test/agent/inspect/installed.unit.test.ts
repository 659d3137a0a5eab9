import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdir, rm, truncate, utimes } from 'node:fs/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { installed } from '../../../agent/collectors/installed.ts';
import { runInspect } from '../../../agent/inspect/inspect.ts';
import { authenticodeDigests } from '../../../attest-server/verify/boot/pe-image.ts';
import { efiVariable } from '../../../attest-server/verify/tpm/efi-structures.ts';
import { eventBytes, parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { parseInstalled } from '../../../attest-server/wire/installed.ts';
import { headerBytes, madePe } from '../../../swtpm-fixtures/made-pe.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { MadeMachine } from './made-machine.ts';

const { signal } = new AbortController();
const logPath = 'sys/kernel/security/tpm0/binary_bios_measurements';
const image = (name: string) =>
  madePe(true, [{ at: headerBytes, content: Buffer.from(name) }], Buffer.alloc(0));
const imageDigest = (name: string) => authenticodeDigests(image(name), ['sha256']).sha256 ?? '';
const fileDigest = (content: string | Buffer) => hash('sha256', content, 'hex');

describe('what inspect says of the next boot', () => {
  let machine: MadeMachine;
  beforeEach(async () => {
    machine = await MadeMachine.make();
    await machine.put('boot/efi/EFI/debian/shimx64.efi', image('shim'));
    await machine.put('boot/efi/EFI/debian/mmx64.efi', image('never started'));
    await machine.put('boot/vmlinuz-6.12.9', image('kernel 9'));
    await machine.put('boot/initrd.img-6.12.9', 'initrd 9');
    await boots(imageDigest('shim'), fileDigest(image('kernel 9')), fileDigest('initrd 9'));
  });
  afterEach(() => machine[Symbol.asyncDispose]());

  const boots = (...digests: readonly string[]) =>
    machine.put(logPath, Buffer.concat(digests.map((hex) => Buffer.from(hex, 'hex'))));

  async function said() {
    const silent = { error() {}, warn() {}, info() {}, debug() {} };
    await runInspect({ parts: ['boot'], sysroot: machine.root }, silent as never, { write: () => {} });
    const bytes = await installed.read(machine.root, signal);
    assert(Buffer.isBuffer(bytes));
    return parseInstalled(bytes);
  }
  const seen = async () => (await said()).files.map(({ kind, path, booted }) => [kind, path, booted]);

  it('is the newest kernel with its initrd and the loaders that were started, and whether they run', async () => {
    const { files, unread } = await said();
    assert.deepEqual(unread, []);
    assert.deepEqual(
      files.map(({ kind, path, booted, digests }) => [kind, path, booted, digests[0]]),
      [
        ['loader', 'boot/efi/EFI/debian/shimx64.efi', true, imageDigest('shim')],
        ['kernel', 'boot/vmlinuz-6.12.9', true, fileDigest(image('kernel 9'))],
        ['initrd', 'boot/initrd.img-6.12.9', true, fileDigest('initrd 9')],
      ],
    );
    assert.equal(files[1]?.digests.includes(imageDigest('kernel 9')), true);
    assert.ok(Date.now() - Date.parse(files[1]?.since ?? '') < 60_000);
  });

  it('is another one once a newer kernel or another loader is installed, in the place of what this boot was started from', async () => {
    await said();
    await machine.put('boot/vmlinuz-6.12.10', image('kernel 10'));
    await machine.put('boot/initrd.img-6.12.10', 'initrd 10');
    await machine.put('boot/efi/EFI/debian/shimx64.efi', image('new shim'));
    assert.deepEqual(await seen(), [
      ['loader', 'boot/efi/EFI/debian/shimx64.efi', false],
      ['kernel', 'boot/vmlinuz-6.12.10', false],
      ['initrd', 'boot/initrd.img-6.12.10', false],
    ]);
  });

  it('is the newest build of one release, as boot loaders put them', async () => {
    const builds = ['6.12.115+deb13-cloud-amd64', '6.12.115+deb13.1-cloud-amd64', '6.12.115+deb13.1-amd64'];
    for (const build of [...builds, '6.12.115+deb13.2-cloud-amd64.old'])
      await machine.put(`boot/vmlinuz-${build}`, image(build));
    const kernels = (await seen()).filter(([kind]) => kind === 'kernel');
    assert.deepEqual(kernels, [['kernel', 'boot/vmlinuz-6.12.115+deb13.1-cloud-amd64', false]]);
  });

  it('says where two kernels are of one version: which of them starts, nobody knows', async () => {
    const entry = async (token: string) => {
      await machine.put(`boot/efi/${token}/6.12.10/linux`, image(token));
      await machine.put(`boot/efi/${token}/6.12.10/initrd`, 'initrd 10');
    };
    await entry('debian');
    assert.deepEqual((await said()).unread, []);
    await entry('other');
    const { unread } = await said();
    assert.equal(unread.length, 1, unread.join());
    assert.match(unread[0] ?? '', /debian.6.12.10.linux.* one version/);
    assert.match(unread[0] ?? '', /other.6.12.10.linux/);
  });

  it('says where more images lie there than it looks at, which may be what starts the next boot', async () => {
    for (let count = 0; count < 47; count++)
      await machine.put(`boot/efi/EFI/debian/other-${count}.efi`, image(`other ${count}`));
    assert.match((await said()).unread.join(), /^of 49 images 48 were looked at/);
  });

  it('says where it does not look: in folders too deep, and past so many entries', async () => {
    const deep = 'boot/efi/1/2/3/4/5/6/7';
    await machine.put(`${deep}/grub.efi`, image('as deep as it goes'));
    assert.deepEqual((await said()).unread, []);
    await machine.put(`${deep}/8/grub.efi`, image('too deep'));
    assert.deepEqual((await said()).unread, [`${deep}/8 lies too deep: nothing in it was looked at`]);
    await rm(machine.at(`${deep}/8`), { recursive: true });
    await mkdir(machine.at('boot/crowded'));
    for (let count = 0; count < 16_384; count++) writeFileSync(machine.at(`boot/crowded/${count}`), '');
    assert.match((await said()).unread.join(), /more than 16384 entries: the rest was not looked at/);
  });

  it('leaves out a file alone whose path is not of ASCII, and says so', async () => {
    await machine.put('boot/efi/EFI/débian/shimx64.efi', image('shim'));
    await machine.put('boot/efi/EFI/other/grubx64.efi', image('shim'));
    const { files, unread } = await said();
    assert.deepEqual(
      files.map(({ path }) => path),
      [
        'boot/efi/EFI/debian/shimx64.efi',
        'boot/efi/EFI/other/grubx64.efi',
        'boot/vmlinuz-6.12.9',
        'boot/initrd.img-6.12.9',
      ],
    );
    assert.equal(unread.length, 1);
    assert.match(
      unread[0] ?? '',
      /^boot\/efi\/EFI\/d\?+bian\/shimx64\.efi: left out: its path .* not of ASCII/,
    );
  });

  it('is the newest unified image where the present boot was started from one', async () => {
    await machine.put('boot/efi/EFI/Linux/debian-6.12.9.efi', image('uki 9'));
    await machine.put('boot/efi/EFI/Linux/debian-6.12.10.efi', image('uki 10'));
    await boots(imageDigest('uki 9'));
    assert.deepEqual(
      (await seen()).map(([kind, path]) => [kind, path]),
      [
        ['loader', 'boot/efi/EFI/Linux/debian-6.12.9.efi'],
        ['kernel', 'boot/efi/EFI/Linux/debian-6.12.10.efi'],
      ],
    );
  });

  it('has the databases of Secure Boot as the firmware of a real machine measured them', async () => {
    const log = recordedLog('debian13-shim-grub');
    const parsed = parseEventLog(log);
    await machine.put(logPath, log);
    for (const event of parsed.events.filter(
      ({ pcr, type }) => pcr === 7 && type === 'EV_EFI_VARIABLE_DRIVER_CONFIG',
    )) {
      const { name, value } = efiVariable(eventBytes(parsed, event.index)) ?? assert.fail();
      const guid = ['db', 'dbx'].includes(name)
        ? 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
        : '8be4df61-93ca-11d2-aa0d-00e098032b8c';
      await machine.put(`sys/firmware/efi/efivars/${name}-${guid}`, Buffer.concat([Buffer.alloc(4), value]));
    }
    const databases = async () =>
      (await seen()).filter(([kind]) => kind === 'database').map(([, path, booted]) => [path, booted]);
    const all = ['PK', 'KEK', 'db', 'dbx'];
    assert.deepEqual(
      await databases(),
      all.map((name) => [name, true]),
    );
    await machine.put(
      'sys/firmware/efi/efivars/dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f',
      Buffer.alloc(80, 7),
    );
    assert.deepEqual(
      await databases(),
      all.map((name) => [name, name !== 'dbx']),
    );
    // Whatever measures its variables in another way is not taken for one that has changed.
    await boots(imageDigest('shim'));
    assert.deepEqual(await databases(), []);
    assert.match((await said()).unread.join(), /in a way of its own/);
  });

  it('names no initrd where an entry has several, which are measured as one', async () => {
    await machine.put('boot/efi/abc/6.12.11/linux', image('kernel 11'));
    for (const name of ['initrd', 'initrd.microcode'])
      await machine.put(`boot/efi/abc/6.12.11/${name}`, name);
    const { files, unread } = await said();
    assert.deepEqual(
      files.map(({ kind, path }) => [kind, path]),
      [
        ['loader', 'boot/efi/EFI/debian/shimx64.efi'],
        ['kernel', 'boot/efi/abc/6.12.11/linux'],
      ],
    );
    assert.match(unread.join(), /measured as one/);
  });

  it('says what is missing, and never that nothing is', async () => {
    await said();
    await rm(machine.at('boot/initrd.img-6.12.9'));
    assert.match((await said()).unread.join(), /no initrd of boot\/vmlinuz-6.12.9/);
    await truncate(machine.at('boot/vmlinuz-6.12.9'), 200 * 1024 * 1024);
    assert.match((await said()).unread.join(), /vmlinuz-6.12.9: left out/);
    await rm(machine.at('boot'), { recursive: true });
    assert.match(
      (await said()).unread.join('; '),
      /shimx64.efi is gone.* no boot loader .* no kernel was found/,
    );
    await rm(machine.at(logPath));
    assert.match((await said()).unread.join(), /no log of the firmware/);
  });

  it('is told as missing where inspect wrote nothing, or more than two hours ago', async () => {
    const read = async () => parseInstalled((await installed.read(machine.root, signal)) as Buffer);
    assert.match((await read()).unread.join(), /wrote nothing .*: systemctl start assay-inspect/);
    const bytes = Buffer.from(JSON.stringify({ at: '2026-01-01T00:00:00Z', installed: {} }));
    await machine.put('run/assay/inspect/installed.json', bytes);
    assert.match((await read()).unread.join(), /more than two hours old: systemctl start assay-inspect/);
    assert.deepEqual((await read()).files, []);
  });

  it('is the same part at each run, so that it is sent once', async () => {
    await utimes(machine.at('boot/vmlinuz-6.12.9'), 1, 1);
    assert.deepEqual(await said(), await said());
  });
});
