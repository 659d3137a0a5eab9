import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { describe, it } from 'mocha';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { InitrdManifest } from '../../../../attest-server/formats/initrd-manifest.ts';
import {
  packManifest,
  parsePackedManifest,
} from '../../../../attest-server/verify/initrd/packed-manifest.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { recordedManifest } from '../../../swtpm-fixtures/recorded-initrd.ts';

const recorded = recordedManifest();
const many: InitrdManifest = {
  ...recorded,
  entries: Array.from({ length: 60_000 }, (_, count) => ({
    path: `usr/lib/${count}`,
    mode: 0o100644,
    bytes: count,
    sha256: count.toString(16).padStart(64, '0'),
  })),
};
const isRejected = (code: string) => (error: unknown) => error instanceof Rejection && error.code === code;
const read = (bytes: Buffer) => atOnce(parsePackedManifest(bytes));

describe('what is kept of an initrd', () => {
  it('is read back as it was', async () => {
    for (const manifest of [recorded, many]) assert.deepEqual(read(await packManifest(manifest)), manifest);
  });

  it('is read in a step for each 256 KiB of it', async () => {
    const steps = [...parsePackedManifest(await packManifest(many))];
    const bytes = many.entries.reduce((sum, entry) => sum + JSON.stringify(entry).length + 1, 0);
    assert.ok(steps.length >= bytes / (300 * 1024), `${steps.length} of ${bytes} bytes`);
  });

  it('is refused where it ends early, wherever that is', async () => {
    const whole = await packManifest(many);
    for (const end of [0, 3, 4, 100, whole.length - 1])
      assert.throws(() => read(whole.subarray(0, end)), isRejected('malformed'), `${end}`);
    const firstBlock = whole.subarray(0, 4 + whole.readUInt32BE(0));
    assert.throws(() => read(firstBlock), isRejected('malformed'));
    assert.throws(() => read(Buffer.concat([whole, firstBlock])), isRejected('malformed'));
  });

  it('is not packed where it is more than is kept of one', async () => {
    const noise = Array.from({ length: 9 }, () => randomBytes(1024 * 1024));
    const contents = Object.fromEntries(
      noise.map((bytes) => [hash('sha256', bytes, 'hex'), bytes.toString('base64')]),
    );
    await assert.rejects(packManifest({ ...many, contents }), isRejected('too_large'));
  });
});
