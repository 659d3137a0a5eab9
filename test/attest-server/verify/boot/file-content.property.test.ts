import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { environmentLines, rewritesOf } from '../../../../attest-server/verify/boot/environment-block.ts';
import { fileContent } from '../../../../attest-server/verify/boot/file-content.ts';
import { fileContents, fileList, parseFileList } from '../../../../attest-server/wire/loader-files.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { font, grubModule } from '../../../../swtpm-fixtures/loader-files.ts';
import { trials } from '../../../trials.ts';

const block = Buffer.from('# GRUB Environment Block\nsaved_entry=0\nrecordfail=1\n'.padEnd(1024, '#'));
const starts = [font, grubModule, block, Buffer.from('MZ'), Buffer.from('set a=b\n')];
/** Bytes of any kind, and those that begin well and were changed somewhere. */
const anyFile = fc.oneof(
  fc.uint8Array({ maxLength: 2048 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(fc.constantFrom(...starts), fc.nat(2048), fc.uint8Array({ maxLength: 16 }), fc.nat(2048))
    .map(([start, at, change, cut]) => {
      const made = Buffer.from(start);
      made.set(change.subarray(0, Math.max(0, made.length - (at % made.length))), at % made.length);
      return made.subarray(0, Math.max(1, made.length - (cut % made.length)));
    }),
);

describe('any bytes of a file', () => {
  it('are of one kind, and text holds no control character', () => {
    fc.assert(
      fc.property(anyFile, (bytes) => {
        const content = fileContent(bytes);
        assert.ok(fileContents.includes(content));
        if (content === 'text' || content === 'environment') assert.ok(!bytes.includes(0));
      }),
      { numRuns: trials(200) },
    );
  });

  it('are an environment block with lines, of which each form is one again, or are none', () => {
    fc.assert(
      fc.property(anyFile, (bytes) => {
        const lines = environmentLines(bytes);
        if (lines === null) return;
        for (const form of rewritesOf(lines, ['entry'])) assert.notEqual(environmentLines(form), null);
      }),
      { numRuns: trials(30) },
    );
  });
});

describe('any bytes of a list of files', () => {
  const digest = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => Buffer.from(bytes).toString('hex'));

  it('give digests or a Rejection', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.array(digest, { maxLength: 4 }).map(fileList)), (given) => {
        const bytes = Buffer.from(given);
        try {
          assert.ok(fileList(parseFileList(bytes)).equals(bytes));
        } catch (error) {
          assert.ok(error instanceof Rejection);
        }
      }),
    );
  });

  it('are refused out of order, twice, and beyond 256', () => {
    const [one, other] = ['a', 'b'].map((letter) => letter.repeat(64));
    const head = fileList([]).toString();
    for (const text of [`${head}${other}\n${one}\n`, `${head}${one}\n${one}\n`, `${head}${one}`, head.trim()])
      assert.throws(() => parseFileList(Buffer.from(text)), { code: 'malformed' });
    const many = Array.from({ length: 257 }, (_, index) => index.toString(16).padStart(64, '0'));
    assert.throws(() => parseFileList(fileList(many)), { code: 'too_large' });
  });
});
