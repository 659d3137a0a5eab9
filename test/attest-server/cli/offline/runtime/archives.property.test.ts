import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseKeylime } from '../../../../../attest-server/cli/offline/runtime/keylime.ts';
import { parseRpm } from '../../../../../attest-server/cli/offline/runtime/rpm.ts';
import { readTar } from '../../../../../attest-server/cli/offline/runtime/tar.ts';
import { DigestList } from '../../../../../attest-server/formats/digest-list.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { trials } from '../../../../trials.ts';
import { madeTar } from './made-archives.ts';
import { recordedRpm, withoutContent } from './recorded-packages.ts';

const rpm = withoutContent(readFileSync(join(recordedRpm)));
const tar = madeTar(
  { name: './usr/bin/tool', content: 'tool' },
  { name: 'x', type: 'x', content: '16 path=/opt/a\n' },
  { name: './b', content: 'b' },
);

/** What was good, with some bytes changed, and cut. */
function nearly(good: Buffer): fc.Arbitrary<Buffer> {
  const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 });
  return fc.tuple(changes, fc.nat(good.length), fc.boolean()).map(([changed, length, isCut]) => {
    const bytes = Buffer.from(good);
    for (const [at, value] of changed) bytes[at] = value;
    return isCut ? bytes.subarray(0, length) : bytes;
  });
}

const anything = fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes));

describe('the parsers of what lists files', () => {
  it('of rpm give files that a list takes, or a Rejection, for any bytes', () => {
    fc.assert(
      fc.property(fc.oneof(anything, nearly(rpm)), (bytes) => {
        const files = orRejection(() => parseRpm(bytes));
        if (files !== null) orRejection(() => DigestList.of(files));
      }),
      { numRuns: trials(100) },
    );
  });

  it('of tar give files, or a Rejection, for any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(anything, nearly(tar)), async (bytes) => {
        try {
          await Array.fromAsync(readTar(inOne(bytes)));
        } catch (error) {
          assert(error instanceof Rejection, String(error));
        }
      }),
      { numRuns: trials(100) },
    );
  });

  it('of Keylime give files that a list takes, or a Rejection, for any text', () => {
    const json = Buffer.from(
      JSON.stringify({ digests: { '/a': ['0'.repeat(64)] }, excludes: ['/tmp'], keyrings: {} }),
    );
    const lines = Buffer.from(`${'0'.repeat(64)}  /usr/bin/a\n\\${'1'.repeat(40)}  /b\\nc\n`);
    fc.assert(
      fc.property(fc.oneof(anything, nearly(json), nearly(lines)), (bytes) => {
        const policy = orRejection(() => parseKeylime(bytes.toString('utf8')));
        if (policy !== null) DigestList.of(policy.files);
      }),
      { numRuns: trials(100) },
    );
  });
});

function orRejection<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    assert(error instanceof Rejection, String(error));
    return null;
  }
}

async function* inOne(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
