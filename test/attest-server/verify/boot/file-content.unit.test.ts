import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { describe, it } from 'mocha';
import { fileContent } from '../../../../attest-server/verify/boot/file-content.ts';
import { font, grubModule } from '../../../../swtpm-fixtures/loader-files.ts';

const bytes = (text: string, length = text.length) => Buffer.from(text.padEnd(length, '\0'), 'latin1');
const block = (lines: string) => Buffer.from(`# GRUB Environment Block\n${lines}`.padEnd(1024, '#'));

/** The header of an x86 kernel, which GRUB starts whatever comes before it. */
function withKernelHeader(from: Buffer): Buffer {
  const made = Buffer.alloc(Math.max(from.length, 0x300));
  from.copy(made);
  made.write('HdrS', 0x202, 'latin1');
  return made;
}

/** Magic, flags, and what makes their sum zero. */
const multibootHeader = Buffer.from('02b0ad1b00000000fe4f52e4', 'hex');
const fontOf = (...sections: readonly Buffer[]) => Buffer.concat([font.subarray(0, 12), ...sections]);
const sectionOf = (name: string, size: number, data: Buffer) => {
  const head = Buffer.from(`${name}....`);
  head.writeUInt32BE(size, 4);
  return Buffer.concat([head, data]);
};

const cases: readonly (readonly [name: string, content: string, bytes: Buffer])[] = [
  ['nothing', 'text', Buffer.alloc(0)],
  ['a script', 'text', Buffer.from('set timeout=0\n\tlinux /vmlinuz\r\n')],
  ['a script in UTF-8', 'text', Buffer.from('menuentry "Debian – öffnen" {}\n')],
  ['a script with a NUL', 'other', Buffer.from('set a=b\0')],
  ['a script with an escape', 'other', Buffer.from('set a=\x1b[2J')],
  ['bytes that are no UTF-8', 'other', Buffer.of(0x61, 0xff, 0x61)],
  ['an environment block', 'environment', block('saved_entry=0\n')],
  ['an empty environment block', 'environment', block('')],
  ['an environment block of another size', 'text', Buffer.concat([block(''), Buffer.from('#')])],
  [
    'an environment block with something behind it',
    'text',
    Buffer.concat([block('a=b\n').subarray(0, 1000), Buffer.from('x'.repeat(24))]),
  ],
  ['a font', 'font', font],
  ['a font whose sections lead nowhere', 'other', fontOf(sectionOf('NAME', 0xffffffff, Buffer.alloc(0)))],
  [
    'a font with a section that fonts do not have',
    'other',
    fontOf(sectionOf('EVIL', 0, Buffer.alloc(0)), sectionOf('DATA', 0, Buffer.alloc(0))),
  ],
  [
    'a font that a loader could start',
    'code',
    withKernelHeader(fontOf(sectionOf('DATA', 0xffffffff, Buffer.alloc(2048)))),
  ],
  [
    'a font with a multiboot header',
    'code',
    Buffer.concat([font, Buffer.alloc(-font.length & 3), multibootHeader]),
  ],
  [
    'a font with the magic of multiboot alone',
    'font',
    Buffer.concat([font, Buffer.alloc(-font.length & 3), multibootHeader.subarray(0, 4)]),
  ],
  ['a module', 'module', grubModule],
  ['a module that a loader could start', 'code', withKernelHeader(grubModule)],
  ['an ELF image that is no module', 'code', bytes('\x7fELF\x02\x01\x01', 128)],
  ['a module cut off', 'code', grubModule.subarray(0, grubModule.length - 1)],
  ['a PE image', 'code', bytes('MZ', 512)],
  ['an ARM kernel', 'code', Buffer.concat([Buffer.alloc(0x38, 1), bytes('ARM\x64')])],
  ['a gzip file', 'archive', gzipSync('initrd')],
  ['an xz file', 'archive', Buffer.from('fd377a585a00', 'hex')],
  ['a zstd file', 'archive', Buffer.from('28b52ffd', 'hex')],
  ['an lz4 file', 'archive', Buffer.from('02214c18', 'hex')],
  ['an lz4 frame', 'archive', Buffer.from('04224d18', 'hex')],
  ['a bzip2 file', 'archive', Buffer.from('BZh91AY&SY')],
  ['an lzma file', 'archive', Buffer.from('5d0000800000', 'hex')],
  ['an lzo file', 'archive', Buffer.from('894c5a4f', 'hex')],
  ['a cpio archive', 'archive', bytes('070701', 110)],
  ['a cpio archive without a NUL in its first names', 'archive', Buffer.from('070701 all of it text\n')],
  ['an old cpio archive', 'archive', Buffer.from('c771', 'hex')],
  ['a picture', 'other', Buffer.from('89504e470d0a1a0a', 'hex')],
  ['zeros', 'other', Buffer.alloc(64)],
];

describe('a file that a loader read', () => {
  for (const [name, content, file] of cases)
    it(`is ${content} by its bytes: ${name} (row 137)`, () => assert.equal(fileContent(file), content));
});
