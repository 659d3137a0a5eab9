import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { InitrdEntry } from '../../../../attest-server/formats/initrd-manifest.ts';
import { file, folder, link, mode, type NewcEntry, newc } from '../../../../swtpm-fixtures/newc.ts';
import { faultsOf, made, readInitrd } from './read-initrd.ts';

const digest = (text: string) => hash('sha256', text);

/** What each path is in the end: digest of a file, target of a link, mode of what else it is. */
async function tree(...archives: readonly (readonly NewcEntry[])[]): Promise<Record<string, unknown>> {
  const manifest = await readInitrd(Buffer.concat(archives.map((entries) => newc(entries))));
  assert.deepEqual(manifest.faults, []);
  return Object.fromEntries(
    [...made(manifest)].map(([path, entry]) => [path, entry.sha256 ?? entry.target ?? entry.mode]),
  );
}

async function entries(...archives: readonly (readonly NewcEntry[])[]): Promise<readonly InitrdEntry[]> {
  return (await readInitrd(Buffer.concat(archives.map((one) => newc(one))))).entries;
}

/** Entries whose path is at fault, and nothing else is. */
async function pathFault(...all: readonly NewcEntry[]): Promise<void> {
  const manifest = await readInitrd(newc(all));
  assert.deepEqual(faultsOf(manifest), ['path']);
  assert.equal(manifest.entries.at(-1)?.unmade, true);
}

describe('the tree that the kernel makes of entries', () => {
  it('has a file where the links on its way lead', async () => {
    const usr = [folder('usr'), folder('usr/bin'), link('bin', 'usr/bin'), link('abs', '/usr/bin')];
    assert.deepEqual(
      await tree([
        ...usr,
        link('usr/up', '../../..'),
        file('bin/a', '1'),
        file('abs/b', '2'),
        file('usr/up/c', '3'),
      ]),
      {
        usr: mode.folder,
        'usr/bin': mode.folder,
        bin: 'usr/bin',
        abs: '/usr/bin',
        'usr/up': '../../..',
        'usr/bin/a': digest('1'),
        'usr/bin/b': digest('2'),
        c: digest('3'),
      },
    );
  });

  it('takes no notice of dots and slashes in names', async () => {
    assert.deepEqual(await tree([folder('.'), folder('./a/'), file('/a//./b', '1')]), {
      '.': mode.folder,
      a: mode.folder,
      'a/b': digest('1'),
    });
  });

  it('is at fault where its archive has no end, and the next image would write on into its files (row 242)', async () => {
    const first = { ...file('init', 'one'), links: 2, inode: 7 };
    const faults = async (trailer: boolean, ...all: readonly NewcEntry[]) =>
      faultsOf(await readInitrd(newc(all, { trailer })));
    assert.deepEqual(await faults(true, first), []);
    assert.deepEqual(await faults(false, file('init', 'one')), []);
    assert.deepEqual(await faults(false, first), ['malformed']);
  });

  it('lacks what has no folder, which is listed all the same', async () => {
    assert.deepEqual(await entries([file('none/a', '1')]), [
      { path: 'none/a', mode: mode.file, unmade: true, bytes: 1, sha256: digest('1') },
    ]);
  });

  it('has the last of several files of one path, and lists them all', async () => {
    assert.deepEqual(await entries([file('init', 'one')], [file('init', 'other')]), [
      { path: 'init', mode: mode.file, replaced: true, bytes: 3, sha256: digest('one') },
      { path: 'init', mode: mode.file, bytes: 5, sha256: digest('other') },
    ]);
  });

  it('has a file, link or folder in the place of what was something else there', async () => {
    const archive = [
      ...[link('a', 'b'), file('a', 'no link'), file('b', 'x'), folder('b'), file('b/in', 'i')],
      ...[folder('c'), file('c', 'was empty'), file('d', 'x'), link('d', 'b')],
    ];
    assert.deepEqual(await tree(archive), {
      a: digest('no link'),
      b: mode.folder,
      'b/in': digest('i'),
      c: digest('was empty'),
      d: 'b',
    });
  });

  it('has the same bytes under all names of a file, whichever of them brought them', async () => {
    const name = (path: string, content = '') => ({ name: path, inode: 5, links: 3, content });
    const last = [name('a'), name('b'), name('c', 'bytes')];
    const first = [name('d', 'begin'), name('e'), name('f')];
    assert.deepEqual(await tree(last, first), {
      ...Object.fromEntries(['a', 'b', 'c'].map((path) => [path, digest('bytes')])),
      ...Object.fromEntries(['d', 'e', 'f'].map((path) => [path, digest('begin')])),
    });
  });

  it('knows the first name of a file up to the end of the archive, and not beyond', async () => {
    const name = (path: string, content: string) => ({ name: path, inode: 5, links: 2, content });
    const open = newc([name('a', 'one')], { trailer: false });
    const { entries: joined } = await readInitrd(Buffer.concat([open, newc([name('b', '')])]));
    assert.equal(joined.at(-1)?.sha256, digest('one'));
    assert.deepEqual(await tree([name('a', 'one')], [name('b', '')]), { a: digest('one'), b: digest('') });
  });

  it('keeps the device that is there already, with the mode of the later one', async () => {
    const device = (minor: number, bits: number) => ({
      name: 'x',
      mode: 0o020000 + bits,
      device: [1, minor] as const,
    });
    const console = { name: 'dev/console', mode: mode.character, device: [4, 64] as const };
    assert.deepEqual(
      made(await readInitrd(newc([device(3, 0o600), device(5, 0o666), console]))),
      new Map([
        ['x', { path: 'x', mode: 0o020666, device: [1, 3] }],
        // The kernel has made it before.
        ['dev/console', { path: 'dev/console', mode: mode.character, device: [5, 1] }],
      ]),
    );
  });
});

describe('names that are made to deceive (row 182)', () => {
  it('tell of each content that is in an archive, whatever overwrites it', async () => {
    const name = (path: string, content: string) => ({ name: path, inode: 5, links: 2, content });
    assert.deepEqual(await entries([name('evil', 'table'), name('good', 'known')]), [
      { path: 'evil', mode: mode.file, replaced: true, bytes: 5, sha256: digest('table') },
      { path: 'evil', mode: mode.file, bytes: 5, sha256: digest('known') },
      { path: 'good', mode: mode.file, bytes: 5, sha256: digest('known') },
    ]);
  });

  it('change a file with another name that a later archive writes anew', async () => {
    const name = (path: string, content: string) => ({ name: path, inode: 5, links: 2, content });
    assert.deepEqual(await tree([name('a', 'good'), name('b', '')], [file('a', 'evil')]), {
      a: digest('evil'),
      b: digest('evil'),
    });
  });

  it('are a fault where a link in the place of a first name has a second one write elsewhere', async () => {
    const name = (path: string, content: string) => ({ name: path, inode: 5, links: 2, content });
    await pathFault(name('a', '1'), file('victim', 'v'), link('a', 'victim'), name('b', 'written'));
    await pathFault(name('a', '1'), name('a', '2'));
    await pathFault(name('none/a', '1'), name('b', ''));
  });

  it('are a fault where they lead up, round in a circle, or too deep', async () => {
    await pathFault(folder('a'), file('a/../b', 'x'));
    await pathFault(file('../b', 'x'));
    await pathFault(link('a', 'b'), link('b', 'a'), file('a/x', 'y'));
    await pathFault(file('n'.repeat(256), 'x'));
    const chain = Array.from({ length: 42 }, (_, index) =>
      link(`l${index}`, index === 0 ? '/' : `l${index - 1}`),
    );
    assert.equal('deep' in (await tree([...chain, file('l39/deep', 'x')])), true);
    await pathFault(...chain, file('l40/deep', 'x'));
  });

  it('are a fault where a file is in the way, or a folder that is not empty', async () => {
    await pathFault(file('a', 'x'), file('a/b', 'y'));
    await pathFault(folder('a'), file('a/b', 'y'), file('a', 'x'));
    await pathFault(folder('a'), file('a/b', 'y'), link('a', 'x'));
    await pathFault(file('.', 'x'));
    await pathFault(file('a/', 'x'));
    await pathFault(folder('b'), link('a', 'b'), folder('a/'));
  });

  it('are a fault where no person sees them as they are', async () => {
    for (const name of ['a\nb', 'a\u202eb', Buffer.from([0x61, 0xff]), 'a\u001b[2J'])
      assert.deepEqual(faultsOf(await readInitrd(newc([{ name, content: 'x' }]))), ['path']);
    assert.deepEqual(faultsOf(await readInitrd(newc([link('a', 'b\u0007')]))), ['path']);
    assert.deepEqual(faultsOf(await readInitrd(newc([file('Főtanúsítvány.pem', 'x')]))), []);
  });

  it('cost a bounded number of steps, and of faults that are told', async () => {
    const round = Array.from({ length: 40 }, (_, index) =>
      link(`l${index}`, `${'./x/../'.repeat(500)}l${index + 1}`),
    );
    const manifest = await readInitrd(
      newc([folder('x'), ...round, ...Array.from({ length: 500 }, () => file('l0/x', ''))]),
    );
    assert.equal(manifest.faults.length, 16);
  });
});
