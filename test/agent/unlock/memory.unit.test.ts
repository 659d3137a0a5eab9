import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkMemory } from '../../../agent/unlock/memory.ts';

describe('the memory of a program that holds a key', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'assay-memory-'));
    write('proc/self/limits', 'Max core file size        0                    0                    bytes\n');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const limits = () => join(root, 'proc/self/limits');
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const swap = (...areas: string[]) =>
    write(
      'proc/swaps',
      ['Filename Type Size Used Priority', ...areas.map((area) => `${area} partition 1 0 -2`), ''].join('\n'),
    );
  /** A device with what sysfs says of it, on others. */
  const device = (name: string, files: Readonly<Record<string, string>> = {}, on: readonly string[] = []) => {
    for (const [file, text] of Object.entries({ dev: '254:0\n', ...files }))
      write(`sys/class/block/${name}/${file}`, text);
    for (const slave of on)
      mkdirSync(join(root, `sys/class/block/${name}/slaves/${slave}`), { recursive: true });
  };
  const crypt = { 'dm/uuid': 'CRYPT-LUKS2-0123-root\n' };
  const lvm = { 'dm/uuid': 'LVM-0123\n' };

  const cases: readonly [string, boolean, () => void][] = [
    ['no swap', true, () => swap()],
    ['zram', true, () => (swap('/dev/zram0'), device('zram0', { backing_dev: 'none\n' }))],
    ['zram of a kernel without write-back', true, () => (swap('/dev/zram0'), device('zram0'))],
    [
      'zram that writes back to a disk',
      false,
      () => (swap('/dev/zram0'), device('zram0', { backing_dev: '/dev/sda2\n' })),
    ],
    ['dm-crypt', true, () => (swap('/dev/dm-0'), device('dm-0', crypt, ['sda2']))],
    [
      'LVM on dm-crypt',
      true,
      () => (swap('/dev/dm-1'), device('dm-1', lvm, ['dm-0']), device('dm-0', crypt, ['sda2'])),
    ],
    [
      'LVM on dm-crypt and on a bare partition',
      false,
      () => (
        swap('/dev/dm-1'),
        device('dm-1', lvm, ['dm-0', 'sda3']),
        device('dm-0', crypt, ['sda2']),
        device('sda3')
      ),
    ],
    ['a partition', false, () => (swap('/dev/sda2'), device('sda2'))],
    [
      'a second area in clear',
      false,
      () => (swap('/dev/zram0', '/dev/sda2'), device('zram0'), device('sda2')),
    ],
    ['a file whose device nobody knows', false, () => swap('/swapfile')],
    ['a file on a disk in clear', false, () => file()],
    ['a file on dm-crypt', true, () => file(crypt)],
  ];
  const file = (files?: Readonly<Record<string, string>>) => {
    swap('/swapfile');
    write('swapfile', '');
    device('dm-9', files);
    const { dev } = statSync(join(root, 'swapfile'));
    mkdirSync(join(root, 'sys/dev/block'), { recursive: true });
    symlinkSync(
      '../../class/block/dm-9',
      join(root, `sys/dev/block/${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`),
    );
  };
  for (const [name, isTaken, make] of cases)
    it(`${isTaken ? 'may have' : 'may not have'} ${name}`, async () => {
      make();
      if (isTaken) await checkMemory(root, limits());
      else await assert.rejects(checkMemory(root, limits()), { code: 'key_memory' });
    });

  it('may not be dumped', async () => {
    swap();
    write('proc/self/limits', 'Max core file size        unlimited            unlimited            bytes\n');
    await assert.rejects(checkMemory(root, limits()), { code: 'key_memory' });
  });
});
