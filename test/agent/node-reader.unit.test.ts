import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { pino } from 'pino';
import {
  type Collector,
  type FactsCollector,
  type PartCollector,
  type SupplementCollector,
  Unavailable,
} from '../../agent/collectors/collector.ts';
import { nodeReader } from '../../agent/node-reader.ts';
import { limits } from '../../attest-server/wire/limits.ts';

const taken = { parts: ['boot', 'disk', 'userSpace'] };
const part = (name: 'boot' | 'disk' | 'userSpace', more: Partial<PartCollector> = {}): PartCollector => ({
  name,
  part: name,
  read: async () => Buffer.from(name),
  ...more,
});
const facts = (read: FactsCollector['read']): FactsCollector => ({ name: 'host', part: null, read });
const never = () => new Promise<never>(() => {});

describe('reading a node', () => {
  let root = '';
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-agent-root-'));
    await mkdir(join(root, 'proc/sys/kernel/random'), { recursive: true });
    await writeFile(join(root, 'proc/sys/kernel/random/boot_id'), '6f9619ff-8b86-d011-b42d-00cf4fc964ff\n');
  });
  after(() => rm(root, { recursive: true }));

  /** A reader of these, and the warnings that it logged. */
  function reading(...list: readonly Collector[]) {
    const warnings: { code: string; collector?: string }[] = [];
    const logger = pino({ level: 'warn' }, { write: (line) => warnings.push(JSON.parse(line)) });
    return { read: nodeReader(list, root, logger), warnings };
  }

  it('asks every collector anew for each answer, and only for parts that the server takes', async () => {
    let asked = 0;
    const { read } = reading(
      facts(async () => ({ kernel: `${++asked}` })),
      part('boot', { read: async () => Buffer.from(`${asked}`) }),
      part('disk', { read: () => assert.fail('nobody takes it') }),
    );
    for (const count of ['1', '2']) {
      const { bootId, host, parts, unavailable } = await read({ parts: ['boot', 'unheardOf'] });
      assert.equal(bootId, '6f9619ff-8b86-d011-b42d-00cf4fc964ff');
      assert.deepEqual(host, { kernel: count });
      assert.deepEqual([...parts], [['boot', Buffer.from(count)]]);
      assert.deepEqual(unavailable, {});
    }
  });

  it('asks them side by side, and reads what grows only when it is told to', async () => {
    let grew = 0;
    // Each ends only once both have begun.
    const both = Promise.withResolvers<void>();
    let begun = 0;
    const slow = async () => {
      if (++begun === 2) both.resolve();
      await both.promise;
      return Buffer.from('slow');
    };
    const { read } = reading(
      part('boot', { read: slow }),
      part('disk', { read: slow }),
      part('userSpace', { after: 'quote', read: async () => Buffer.from(`${++grew}`) }),
    );
    const { parts, readGrowing } = await read(taken);
    assert.deepEqual([[...parts.keys()], grew], [['boot', 'disk'], 0]);
    assert.deepEqual([...(await readGrowing()).parts], [['userSpace', Buffer.from('1')]]);
  });

  it('goes on without one that fails or is late, says why, and warns once for each cause', async () => {
    const long = `a cause\n${'x'.repeat(300)}`;
    const failing: Record<string, Partial<PartCollector>> = {
      'it says so': { read: async () => new Unavailable('no module') },
      'it throws': { read: () => Promise.reject(new Error('no module')) },
      'it throws at once': {
        read: () => {
          throw new Error('no module');
        },
      },
      'it gives too much': { read: async () => Buffer.alloc(limits.parts.disk + 1) },
      'it says too much': { read: async () => new Unavailable(long) },
      'it is late': { within: 20, read: never },
    };
    for (const [what, more] of Object.entries(failing)) {
      const { read, warnings } = reading(
        part('boot'),
        part('disk', more),
        facts(async () => ({ arch: 'x64' })),
      );
      for (let answers = 0; answers < 3; answers++) {
        const { parts, host, unavailable } = await read(taken);
        assert.deepEqual([...parts.keys()], ['boot'], what);
        assert.deepEqual(host, { arch: 'x64' });
        assert.deepEqual(Object.keys(unavailable), ['disk'], what);
        assert.match(unavailable.disk ?? '', /^[\x20-\x7e]{1,256}$/);
      }
      // One that is late is not read again before it ends, which is another cause.
      const told = what === 'it is late' ? 2 : 1;
      assert.deepEqual(
        warnings.map(({ code, collector }) => [code, collector]),
        Array.from({ length: told }, () => ['facts_unavailable', 'disk']),
        what,
      );
    }
  });

  it('tells one that is late to stop, and starts no second reading beside it', async () => {
    let readings = 0;
    let stopped = false;
    const gate = Promise.withResolvers<Buffer>();
    const read = (_: string, signal: AbortSignal) => {
      readings++;
      signal.addEventListener('abort', () => {
        stopped = true;
      });
      return gate.promise;
    };
    const node = reading(part('disk', { within: 20, read }));
    await node.read(taken);
    await node.read(taken);
    assert.deepEqual([readings, stopped], [1, true]);
    gate.resolve(Buffer.from('at last'));
    await sleep(0);
    assert.equal((await node.read(taken)).parts.get('disk')?.toString(), 'at last');
    assert.equal(readings, 2);
  });

  it('says with the next answer what could not be read after the quote', async () => {
    let isBroken = true;
    const read = async () => (isBroken ? new Unavailable('broken') : Buffer.from('records'));
    const node = reading(part('userSpace', { after: 'quote', read }));
    const first = await node.read(taken);
    assert.deepEqual(first.unavailable, {});
    assert.equal((await first.readGrowing()).parts.size, 0);
    isBroken = false;
    const second = await node.read(taken);
    assert.deepEqual(second.unavailable, { userSpace: 'broken' });
    assert.equal((await second.readGrowing()).parts.size, 1);
    assert.deepEqual((await node.read(taken)).unavailable, {});
  });

  it('reads a list from an offset where it is asked for that, and says with the next answer why it could not', async () => {
    const offsets: number[] = [];
    let isBroken = true;
    const list: SupplementCollector = {
      name: 'ima',
      part: null,
      supplement: 'ima',
      after: 'quote',
      async read(_root, _signal, { from }) {
        offsets.push(from);
        return isBroken ? new Unavailable('broken') : { from, more: false, pieces: [] };
      },
    };
    const whole: PartCollector = { name: 'ima', part: 'ima', after: 'quote', read: async () => null };
    const node = reading(list, whole);
    const ask = (from: number) =>
      node.read({ parts: [], supplements: { ima: { of: [], from, bootId: null, most: 1 } } });
    const listIn = async ({ readGrowing }: Awaited<ReturnType<typeof ask>>) =>
      (await readGrowing()).supplements?.get('ima');
    assert.equal(await listIn(await node.read({ parts: ['ima'] })), undefined);
    assert.equal(await listIn(await ask(7)), undefined);
    isBroken = false;
    const second = await ask(8);
    assert.deepEqual([second.unavailable, offsets], [{ ima: 'broken' }, [7]]);
    assert.deepEqual((await listIn(second))?.from, 8);
    assert.deepEqual((await ask(8)).unavailable, {});
  });

  it('takes it for a fact that something is not there, and says once what may be wrong', async () => {
    const missing = { code: 'no_boot_log', text: 'is it mounted?' };
    const { read, warnings } = reading(part('boot', { missing, read: async () => null }));
    for (let answers = 0; answers < 2; answers++) {
      const { parts, unavailable } = await read(taken);
      assert.deepEqual([parts.size, unavailable], [0, {}]);
    }
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ['no_boot_log'],
    );
  });

  it('is not possible without the boot id, which ties the facts to a boot', async () => {
    const logger = pino({ level: 'silent' });
    await assert.rejects(nodeReader([], join(root, 'elsewhere'), logger)(taken), {
      code: 'facts_unavailable',
    });
  });
});
