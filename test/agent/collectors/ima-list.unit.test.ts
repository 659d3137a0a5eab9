import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'mocha';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { imaList } from '../../../agent/collectors/ima-list.ts';
import { imaLogPath } from '../../../agent/collectors/ima-log.ts';
import { limits } from '../../../attest-server/wire/limits.ts';

const { signal } = new AbortController();
const bootId = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';
const { piece, inAnswer } = limits.ima;
const long = randomBytes(2 * piece + 12_345);

describe("IMA's list from an offset", () => {
  let root = '';
  let path = '';
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-ima-'));
    path = join(root, imaLogPath);
    await mkdir(join(root, 'proc/sys/kernel/random'), { recursive: true });
    await writeFile(join(root, 'proc/sys/kernel/random/boot_id'), `${bootId}\n`);
    await mkdir(dirname(path), { recursive: true });
  });
  after(() => rm(root, { recursive: true }));
  beforeEach(() => writeFile(path, 'one, two, '));

  const ask = async (
    from: number,
    { most = inAnswer, boot = bootId as string | null, patienceMs = 60_000 } = {},
  ) => {
    const found = await imaList(patienceMs).read(root, signal, { of: [], from, bootId: boot, most });
    assert(!(found instanceof Unavailable));
    return found;
  };
  const shown = async (...asked: Parameters<typeof ask>) => {
    const found = await ask(...asked);
    return found === null ? null : [found.from, Buffer.concat(found.pieces).toString(), found.more];
  };

  it('is what was added since, as it grows', async () => {
    assert.deepEqual(await shown(0), [0, 'one, two, ', false]);
    assert.deepEqual(await shown(10), [10, '', false]);
    await appendFile(path, 'three, ');
    assert.deepEqual(await shown(10), [10, 'three, ', false]);
    assert.deepEqual(await shown(17), [17, '', false]);
  });

  for (const [what, from, how] of [
    ['of another boot', 5, { boot: 'another' }],
    ['of no boot that the server knows', 5, { boot: null }],
    ['shorter than what the server has', 11, {}],
    ['far shorter than that', Number.MAX_SAFE_INTEGER, {}],
  ] as const)
    it(`comes from its begin where it is ${what}`, async () => {
      assert.deepEqual(await shown(from, how), [0, 'one, two, ', false]);
    });

  it('goes on within an entry, if that is where the server stopped', async () => {
    assert.deepEqual(await shown(7), [7, 'o, ', false]);
  });

  it('comes from its begin where another one took its place that is shorter', async () => {
    await truncate(path, 0);
    await writeFile(path, 'other');
    assert.deepEqual(await shown(10), [0, 'other', false]);
  });

  it('is no more than was asked for, and says whether that is all', async () => {
    assert.deepEqual(await shown(0, { most: 4 }), [0, 'one,', true]);
    assert.deepEqual(await shown(4, { most: 5 }), [4, ' two,', true]);
    assert.deepEqual(await shown(4, { most: 6 }), [4, ' two, ', false]);
    assert.deepEqual(await shown(10, { most: 1 }), [10, '', false]);
  });

  it('comes in pieces that are as large as one may be, but the last', async () => {
    await writeFile(path, long);
    const found = await ask(0);
    assert.deepEqual(
      found?.pieces.map(({ length }) => length),
      [piece, piece, 12_345],
    );
    assert(Buffer.concat(found?.pieces ?? []).equals(long));
    const exact = await ask(12_345);
    assert.deepEqual(
      exact?.pieces.map(({ length }) => length),
      [piece, piece],
    );
    assert(Buffer.concat(exact?.pieces ?? []).equals(long.subarray(12_345)));
  });

  it('is taken from where it broke off, in as many answers as it needs', async () => {
    await writeFile(path, long);
    const answers: Buffer[] = [];
    let size = 0;
    for (let isMore = true; isMore; ) {
      const found = await ask(size, { most: limits.parts.ima });
      assert(found !== null && found.from === size);
      answers.push(...found.pieces);
      size = answers.reduce((sum, { length }) => sum + length, 0);
      isMore = found.more;
    }
    assert(Buffer.concat(answers).equals(long));
    assert.equal(answers.length, Math.ceil(long.length / limits.parts.ima));
  });

  it('breaks off where reading takes too long, and has got on', async () => {
    await writeFile(path, long);
    const found = await ask(0, { patienceMs: 0 });
    assert(found !== null);
    const size = found.pieces.reduce((sum, { length }) => sum + length, 0);
    assert(size > 0 && size < piece, `${size} bytes`);
    assert.equal(found.more, true);
  });

  it('is none on a machine whose kernel has none, or an empty one', async () => {
    await writeFile(path, '');
    assert.equal(await ask(0), null);
    assert.equal(await ask(7), null);
    await rm(path);
    assert.equal(await ask(0), null);
  });

  it('fails, and says why, where it cannot be read', async () => {
    await rm(path);
    await mkdir(path);
    await assert.rejects(ask(0), { code: 'EISDIR' });
    await rm(path, { recursive: true });
    await writeFile(path, long);
    const stopped = imaList().read(root, AbortSignal.abort(), { of: [], from: 0, bootId, most: inAnswer });
    await assert.rejects(stopped, { name: 'AbortError' });
  });
});
