import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { inventory } from '../../../agent/collectors/inventory.ts';
import { limits } from '../../../attest-server/wire/limits.ts';

const { signal } = new AbortController();

describe('the inventory', () => {
  it('is started by an answer, at most once an hour, and never waited for', async () => {
    let now = 0;
    const takings: PromiseWithResolvers<Buffer>[] = [];
    const collector = inventory(
      () => {
        const taking = Promise.withResolvers<Buffer>();
        takings.push(taking);
        return taking.promise;
      },
      () => now,
    );
    const read = async () => {
      const value = await collector.read('/', signal);
      return value instanceof Unavailable ? value.cause : (value?.toString() ?? null);
    };
    assert.deepEqual([await read(), await read()], [null, null]);
    assert.equal(takings.length, 1);
    takings[0]?.resolve(Buffer.from('first'));
    await turn();
    now = 3_599_999;
    assert.equal(await read(), 'first');
    assert.equal(takings.length, 1);
    now = 3_600_000;
    assert.equal(await read(), 'first');
    assert.equal(takings.length, 2);
    // What was known stays known where the next one fails.
    takings[1]?.reject(new Error('no memory'));
    await turn();
    assert.equal(await read(), 'first');
  });

  it('says why there is none, and tries again an hour later', async () => {
    let now = 0;
    let count = 0;
    const collector = inventory(
      async () => {
        if (++count === 1) throw new Error('no such program');
        return Buffer.from('second');
      },
      () => now,
    );
    assert.equal(await collector.read('/', signal), null);
    await turn();
    const value = await collector.read('/', signal);
    assert.ok(value instanceof Unavailable);
    assert.equal(value.cause, 'no such program');
    now = 3_600_000;
    await collector.read('/', signal);
    await turn();
    assert.equal(String(await collector.read('/', signal)), 'second');
    assert.equal(count, 2);
  });

  it('is not taken of this machine for a tree that was recorded elsewhere', async () => {
    const root = await mkdtemp(join(tmpdir(), 'assay-inventory-'));
    await mkdir(join(root, 'proc/sys/kernel/random'), { recursive: true });
    await writeFile(
      join(root, 'proc/sys/kernel/random/boot_id'),
      `${'a'.repeat(8)}-8b86-d011-b42d-00cf4fc964ff\n`,
    );
    const collector = inventory(() => assert.fail('it was taken'));
    assert.equal(await collector.read(root, signal), null);
    await rm(root, { recursive: true });
  });
});

describe('the inventory of this very machine', () => {
  it('is one JSON object of texts within its bound, which is the same as long as nothing changes', async () => {
    const take = async () => {
      const collector = inventory();
      for (;;) {
        const value = await collector.read('/', signal);
        if (value instanceof Unavailable) assert.fail(value.cause);
        if (value !== null) return value;
        await sleep(20);
      }
    };
    const [first, second] = [await take(), await take()];
    assert.deepEqual(first, second);
    assert.ok(first.length <= limits.parts.inventory);
    const said: unknown = JSON.parse(first.toString());
    assert.ok(typeof said === 'object' && said !== null);
    assert.deepEqual(Object.keys(said), ['system', 'bios', 'baseboard', 'os', 'versions', 'blockDevices']);
  });
});
