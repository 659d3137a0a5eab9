import assert from 'node:assert/strict';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import { manifestChunks, parseInitrdManifest } from '../../../../attest-server/formats/initrd-manifest.ts';
import { initrdBounds } from '../../../../attest-server/verify/initrd/bounds.ts';
import { InitrdReader } from '../../../../attest-server/verify/initrd/initrd-reader.ts';
import { mode, type NewcEntry, newc } from '../../../../swtpm-fixtures/newc.ts';
import { readInitrd } from './read-initrd.ts';

const name = fc
  .array(fc.constantFrom('a', 'b', 'usr', 'bin', '.', '..', 'TRAILER!!!'), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join('/'));
const entry: fc.Arbitrary<NewcEntry> = fc.oneof(
  fc.record({
    name,
    content: fc.string({ maxLength: 40 }),
    inode: fc.integer({ min: 1, max: 3 }),
    links: fc.integer({ min: 1, max: 2 }),
  }),
  fc.record({ name, mode: fc.constantFrom(mode.folder, mode.pipe, mode.character) }),
  fc.record({ name, mode: fc.constant(mode.link), content: name }),
);
const segment = fc
  .tuple(fc.array(entry, { maxLength: 8 }), fc.boolean(), fc.constantFrom('none', 'gzip', 'zstd'), fc.nat(5))
  .map(([entries, trailer, packed, zeros]) => {
    const archive = newc(entries, { trailer });
    const bytes =
      packed === 'gzip' ? gzipSync(archive) : packed === 'zstd' ? zstdCompressSync(archive) : archive;
    return Buffer.concat([bytes, Buffer.alloc(zeros)]);
  });
/** Images as tools make them, and such of which some bytes were changed, cut or added. */
const image = fc
  .tuple(
    fc.array(segment, { maxLength: 4 }),
    fc.array(fc.tuple(fc.nat(4095), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
    fc.option(fc.nat(2000)),
    fc.uint8Array({ maxLength: 4 }),
  )
  .map(([segments, changes, cut, tail]) => {
    const whole = Buffer.concat([...segments, tail]);
    const bytes = whole.subarray(0, cut ?? whole.length);
    for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
    return bytes;
  });
const images = fc.oneof(
  { weight: 9, arbitrary: image },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)) },
);
const options = {
  keepsContent: (path: string) => path.endsWith('a'),
  bounds: { ...initrdBounds, unpackedBytes: 4000, entries: 20 },
};

describe('any image', () => {
  it('gives one manifest, however it is cut, which is read back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(
        images,
        fc.array(fc.nat(300), { minLength: 1, maxLength: 20 }),
        async (bytes, sizes) => {
          const whole = await readInitrd(bytes, options);
          const reader = new InitrdReader(options);
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 0;
            // A size of nothing would never end.
            await reader.push(bytes.subarray(at, at + size + (turn % sizes.length === 0 ? 1 : 0)));
            at += size + (turn % sizes.length === 0 ? 1 : 0);
          }
          assert.deepEqual(await reader.end(), whole);
          assert.deepEqual(atOnce(parseInitrdManifest(manifestChunks(whole))), whole);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('tells each path that is there once', async () => {
    await fc.assert(
      fc.asyncProperty(images, async (bytes) => {
        const paths = (await readInitrd(bytes, options)).entries
          .filter(({ replaced, unmade }) => replaced === undefined && unmade === undefined)
          .map(({ path }) => path);
        assert.equal(new Set(paths).size, paths.length);
      }),
      { numRuns: 200 },
    );
  });
});
