import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { trials } from '../../trials.ts';
import { addKey, cryptsetup, luksImage, overwrite, parsed, parsedBytes, quick } from './made-machine.ts';

describe('the header of a LUKS volume', () => {
  let folder = '';
  let image = '';
  let whole = Buffer.alloc(0);
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-luks-'));
    image = await luksImage(join(folder, 'image'));
    whole = await readFile(image);
  });
  after(() => rm(folder, { recursive: true }));

  const second = async (path: string) => {
    const { header, faults } = await parsed(path);
    assert(header?.version === 2);
    return { header, faults, metadata: JSON.parse(header.metadata) };
  };
  const uuidOf = async (path: string) =>
    (await run('cryptsetup', ['luksUUID', path], { timeoutMs: 10_000, maxOutputBytes: 1024 })).stdout
      .toString()
      .trim();
  /** The same image with other bytes somewhere. */
  const changed = (...changes: readonly (readonly [at: number, bytes: Uint8Array])[]) => {
    const copy = Buffer.from(whole);
    for (const [at, bytes] of changes) copy.set(bytes, at);
    return copy;
  };
  const zeros = new Uint8Array(512);

  it('of LUKS2 has UUID and metadata as cryptsetup shows them', async () => {
    const { header, faults, metadata } = await second(image);
    assert.deepEqual(faults, []);
    assert.equal(header.uuid, await uuidOf(image));
    const dumped = await run('cryptsetup', ['luksDump', '--dump-json-metadata', image], {
      timeoutMs: 10_000,
      maxOutputBytes: 1 << 20,
    });
    assert.deepEqual(metadata, JSON.parse(dumped.stdout.toString()));
  });

  it('of LUKS2 shows each keyslot and token', async () => {
    const path = join(folder, 'two');
    await luksImage(path);
    await addKey(path, folder);
    await run('cryptsetup', ['token', 'add', '--key-description', 'node:disk', path], {
      timeoutMs: 10_000,
      maxOutputBytes: 1024,
    });
    const two = await second(path);
    assert.deepEqual(Object.keys(two.metadata.keyslots), ['0', '1']);
    assert.equal(two.metadata.tokens['0'].key_description, 'node:disk');
  });

  it('of LUKS1 names cipher, key and the keyslots in use', async () => {
    const path = await luksImage(join(folder, 'first'), { type: 'luks1' });
    await addKey(path, folder);
    const { header, read } = await parsed(path);
    assert(header?.version === 1);
    assert.equal(header.uuid, await uuidOf(path));
    const { cipher, mode, hash: of, keyBytes, activeSlots } = header.luks1;
    assert.deepEqual([cipher, mode, of, keyBytes, activeSlots], ['aes', 'xts-plain64', 'sha256', 64, [0, 1]]);
    const bytes = await readFile(path);
    assert.equal(header.luks1.keyDigest, bytes.toString('hex', 112, 132));
    assert.equal(header.luks1.keySalt, bytes.toString('hex', 132, 164));
    assert.equal(header.digest, hash('sha256', bytes.subarray(0, 592), 'hex'));
    // Its keyslots begin at 4096.
    assert.deepEqual(read, [[0, 4096]]);
  });

  it('is read without the keyslots behind it, of each size that it may have', async () => {
    assert.deepEqual((await parsed(image)).read.at(-1), [0, 32_768]);
    const large = await luksImage(join(folder, 'large'), { args: ['--luks2-metadata-size', '4m'] });
    assert.deepEqual((await parsed(large)).read.at(-1), [0, 8 * 1024 * 1024]);
    assert.deepEqual((await parsed(large)).faults, []);
    await overwrite(large, 0, zeros);
    assert.equal((await parsed(large, true)).header?.uuid, await uuidOf(large));
  });

  it('that is detached is a header by itself', async () => {
    const [header, data] = [join(folder, 'header'), join(folder, 'data')];
    await writeFile(data, Buffer.alloc(1 << 20));
    await cryptsetup('luksFormat', '--type', 'luks2', ...quick, '--header', header, data);
    assert.equal((await parsed(header)).header?.uuid, await uuidOf(header));
    const { header: none, faults } = await parsed(data, true);
    assert.deepEqual([none, faults], [null, []]);
  });

  it('has one digest, whichever of its two copies counts, and another one after each change', async () => {
    const { header } = await second(image);
    for (const at of [0, 16_384]) {
      const damaged = parsedBytes(changed([at, zeros]));
      assert.equal(damaged.header?.digest, header.digest);
      assert.equal(damaged.faults.length, 1);
    }
    const path = join(folder, 'another');
    await writeFile(path, whole);
    await addKey(path, folder);
    const { header: after } = await second(path);
    assert.notEqual(after.digest, header.digest);
    assert.equal(after.uuid, header.uuid);
  });

  it('that is damaged is named: by its checksum, its place, its size, and what is no text', () => {
    for (const [what, at, bytes] of [
      ['checksum', 4100, Buffer.from('x')],
      ['magic', 0, Buffer.from('KULS')],
      ['version', 6, Buffer.from([0, 3])],
      ['size', 8, Buffer.from([1])],
      ['elsewhere', 256, Buffer.from([1])],
      ['SHA-256', 72, Buffer.from('sha1\0\0')],
    ] as const) {
      const { header, faults } = parsedBytes(changed([at, bytes]));
      if (what === 'version') assert.deepEqual([header, faults], [null, ['a LUKS header of version 3']]);
      else assert.equal(header?.version, 2, what);
      assert.equal(faults.length, 1, what);
    }
    const both = parsedBytes(changed([4100, Buffer.from('x')], [16_384 + 4100, Buffer.from('x')]));
    assert.equal(both.header, null);
    assert.equal(both.faults.length, 2);
  });

  it('is the one that was written, or none and its fault, whatever bytes are changed', () => {
    const { header } = parsedBytes(whole);
    const change = fc.tuple(fc.nat(32_767), fc.uint8Array({ minLength: 1, maxLength: 64 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), fc.boolean(), (changes, isVolume) => {
        const bytes = Buffer.from(whole.subarray(0, 65_536));
        for (const [at, written] of changes) bytes.set(written, at);
        const found = parsedBytes(bytes, isVolume);
        if (found.header !== null) assert.equal(found.header.digest, header?.digest);
        else assert(found.faults.length > 0 || !bytes.subarray(0, 6).equals(whole.subarray(0, 6)));
      }),
      { numRuns: trials(50) },
    );
  });

  it('is the newer one of two copies, which cryptsetup would take', async () => {
    const path = join(folder, 'newer');
    await writeFile(path, whole);
    await addKey(path, folder);
    const newer = await readFile(path);
    // The second copy knows of a keyslot that the first one, whole and older, does not show.
    const { header, faults } = parsedBytes(changed([16_384, newer.subarray(16_384, 32_768)]));
    assert(header?.version === 2);
    assert.deepEqual(Object.keys(JSON.parse(header.metadata).keyslots), ['0', '1']);
    assert.equal(faults.length, 1);
  });

  it('is looked for at each place of a second copy where a mapping says that there is one, else at the usual', () => {
    const empty = Buffer.alloc(5 * 1024 * 1024);
    assert.equal(parsedBytes(empty).read.length, 2);
    assert.equal(parsedBytes(empty, true).read.length, 10);
    assert.equal(parsedBytes(empty, true).header, null);
  });
});
