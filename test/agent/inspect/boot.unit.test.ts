import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { chmod, readdir, readFile, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { inspectBoot } from '../../../agent/inspect/boot.ts';
import { parseBootIndex } from '../../../agent/inspect/boot-index.ts';
import { type OutFolder, openOutFolder } from '../../../agent/inspect/out-folder.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { MadeMachine } from './made-machine.ts';

const now = new Date('2026-11-26T10:00:00Z');
const environment = Buffer.from('# GRUB Environment Block\n'.padEnd(1024, '#'));
const sha256 = (bytes: Buffer | string) => hash('sha256', bytes, 'hex');

describe('what inspect copies of a boot loader', () => {
  let machine: MadeMachine;
  let out: OutFolder;
  beforeEach(async () => {
    machine = await MadeMachine.make();
    out = await openOutFolder(machine.at('out'), null);
    await machine.put('boot/grub/grub.cfg', 'set timeout=0\n', 0o600);
    await machine.put('boot/grub/grubenv', environment);
    await machine.put('boot/efi/EFI/debian/grub.cfg', 'configfile\n');
    await machine.put('boot/vmlinuz-6.12', 'a kernel');
    await machine.put('boot/initrd.img-6.12', 'an initrd');
  });
  afterEach(async () => {
    await out[Symbol.asyncDispose]();
    await machine[Symbol.asyncDispose]();
  });

  const written = async () => {
    const index = await inspectBoot(machine.root, now, out);
    assert.deepEqual(parseBootIndex(await readFile(machine.at('out/index.json'))), index);
    return index;
  };
  const copies = async () =>
    (await readdir(machine.at('out'))).filter((name) => name !== 'index.json').sort();

  it('is each file that GRUB reads under its SHA-256, by all digests, and of initrds the digests alone', async () => {
    const { at, files, unread } = await written();
    assert.equal(at, '2026-11-26T10:00:00.000Z');
    assert.deepEqual(
      files.map(({ path, kind, copied }) => [path, kind, copied]),
      [
        ['boot/efi/EFI/debian/grub.cfg', 'loader', true],
        ['boot/grub/grub.cfg', 'loader', true],
        ['boot/grub/grubenv', 'environment', true],
        ['boot/initrd.img-6.12', 'initrd', false],
      ],
    );
    const initrd = files.at(-1);
    assert.deepEqual(
      [initrd?.sha256, initrd?.sha384, initrd?.sha512],
      (['sha256', 'sha384', 'sha512'] as const).map((name) => hash(name, 'an initrd', 'hex')),
    );
    assert.deepEqual(unread, []);
    const contents = ['set timeout=0\n', 'configfile\n', environment];
    assert.deepEqual(await copies(), contents.map(sha256).sort());
    for (const content of contents)
      assert.equal((await readFile(machine.at(join('out', sha256(content))))).toString(), content.toString());
  });

  it('is of initrds the one that was booted, where that is asked for and not everybody may read it', async () => {
    await chmod(machine.at('boot/initrd.img-6.12'), 0o600);
    await machine.put('boot/initrd.img-6.11', 'another', 0o600);
    await machine.put('boot/initrd.img-open', 'for all', 0o644);
    const booted = (...contents: readonly string[]) =>
      machine.put(
        'sys/kernel/security/tpm0/binary_bios_measurements',
        Buffer.concat(contents.map((content) => hash('sha384', content, 'buffer'))),
      );
    const copied = async (asks: boolean) =>
      (await inspectBoot(machine.root, now, out, asks)).files
        .filter(({ kind, copied: isCopied }) => kind === 'initrd' && isCopied)
        .map(({ path }) => path);
    await booted('an initrd', 'for all');
    assert.deepEqual(await copied(false), []);
    assert(!(await copies()).includes(sha256('an initrd')));
    for (const _ of [1, 2]) assert.deepEqual(await copied(true), ['boot/initrd.img-6.12']);
    assert.equal((await readFile(machine.at(join('out', sha256('an initrd'))))).toString(), 'an initrd');
    // Another boot: it goes one run later.
    await booted('another');
    assert.deepEqual(await copied(true), ['boot/initrd.img-6.11']);
    await copied(true);
    assert(!(await copies()).includes(sha256('an initrd')));
  });

  it('reads an initrd again only once it is another file', async () => {
    const [before] = (await written()).files.filter(({ kind }) => kind === 'initrd');
    const index = JSON.parse(await readFile(machine.at('out/index.json'), 'utf8'));
    index.files.at(-1).sha256 = '0'.repeat(64);
    await writeFile(machine.at('out/index.json'), JSON.stringify(index));
    assert.equal((await written()).files.at(-1)?.sha256, '0'.repeat(64));
    await utimes(machine.at('boot/initrd.img-6.12'), 1, 1);
    assert.equal((await written()).files.at(-1)?.sha256, before?.sha256);
  });

  it('keeps what the index before named for one run, and mends a copy that is another file', async () => {
    await written();
    await machine.put('boot/grub/grub.cfg', 'set timeout=1\n');
    await written();
    assert((await copies()).includes(sha256('set timeout=0\n')));
    await writeFile(machine.at(join('out', sha256('set timeout=1\n'))), 'set timeout=2\n');
    await written();
    assert(!(await copies()).includes(sha256('set timeout=0\n')));
    const mended = await readFile(machine.at(join('out', sha256('set timeout=1\n'))), 'utf8');
    assert.equal(mended, 'set timeout=1\n');
  });

  it('copies configuration before modules, and no more than a server takes', async () => {
    for (let index = 0; index < limits.loaderFiles.count; index++)
      await machine.put(`boot/grub/x86_64-efi/a${index}.mod`, `module ${index}`);
    const { files, unread } = await written();
    assert.equal(files.filter(({ copied }) => copied).length, limits.loaderFiles.count);
    assert(files.filter(({ path }) => /cfg$/.test(path)).every(({ copied }) => copied));
    assert.equal(files.filter(({ kind, copied }) => kind === 'loader' && !copied).length, 3);
    assert.equal(unread.length, 1);
  });

  it('bounds the bytes of all copies', async () => {
    const { each, bytes } = limits.loaderFiles;
    for (let index = 0; index <= bytes / each; index++) {
      await machine.put(`boot/large${index}.cfg`, `${index}`);
      await truncate(machine.at(`boot/large${index}.cfg`), each);
    }
    const { files } = await written();
    const copied = files.filter((file) => file.copied).reduce((sum, file) => sum + file.bytes, 0);
    assert(copied <= bytes);
    assert.equal(files.filter((file) => !file.copied && file.kind === 'loader').length, 2);
  });

  it('says what could not be read, and writes the rest', async () => {
    await truncate(machine.at('boot/initrd.img-6.12'), 2 * 1024 ** 3);
    await symlink('efi', machine.at('efi'));
    const { files, unread } = await written();
    assert.equal(files.length, 3);
    assert.equal(unread.length, 2);
  });

  it('makes an index of nothing where there is no such folder', async () => {
    await rm(machine.at('boot'), { recursive: true });
    assert.deepEqual((await written()).files, []);
  });
});
