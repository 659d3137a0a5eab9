import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parse } from 'yaml';
import { chainEntry } from '../../../../../attest-server/audit/chain.ts';
import { type AuditEntry, type AuditEvent, genesis } from '../../../../../attest-server/formats/audit.ts';
import { emptyWorld, now, startApi } from '../../../http/api-fixture.ts';
import { madeEvent } from '../../../store/made-records.ts';
import { openMadeStore } from '../../../store/made-store.ts';
import { environmentOf, runAssay } from '../../cli-fixture.ts';

const hour = 3_600_000;
const made: readonly AuditEvent[] = [
  { ...madeEvent('enrol', 'node-1'), at: now - 5 * hour, actor: 'agent:node-1', detail: {} },
  { ...madeEvent('enrol.approve', 'node-10'), at: now - 4 * hour, actor: 'token:alice', detail: {} },
  {
    ...madeEvent('reference.capture', 'workers'),
    at: now - 3 * hour,
    actor: 'kubernetes:alice',
    detail: { nodes: 'node-1 node-2', text: '\u001b[2J" a' },
  },
  { ...madeEvent('verdict', 'node-2'), at: now - 2 * hour, actor: 'server', code: 'kernel_unknown' },
];

describe('assay audit list', () => {
  it('says that a server is older than it, and how its log is searched all the same', async () => {
    const world = emptyWorld();
    const server = await startApi(world);
    try {
      const env = environmentOf(server, 'reader-token');
      assert.equal((await runAssay(['audit', 'list', '--node', 'node-1'], { env })).code, 0);
      world.earlier = true;
      const { code, out, err } = await runAssay(['audit', 'list', '--node', 'node-1'], { env });
      assert.deepEqual([code, out], [1, '']);
      assert.match(err, /older than this command line/);
      assert.match(
        err,
        /\n +assay audit export audit\.jsonl\n +assay audit list --from audit\.jsonl --node node-1\n/,
      );
    } finally {
      await server.close();
    }
  });
});

describe('assay audit list --from', () => {
  let dir: string;
  let files: readonly string[] = [];
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-audit-list-'));
    const chain: AuditEntry[] = [];
    for (const event of made) chain.push(chainEntry(chain.at(-1)?.hash ?? genesis, chain.length + 1, event));
    writeFileSync(join(dir, 'export'), chain.map((entry) => `${JSON.stringify({ entry })}\n`).join(''));
    const store = await openMadeStore(join(dir, 'state', 'assay.db'));
    for (const event of made) await store.audit.append(event);
    await store.backup(join(dir, 'backup.db'));
    await store[Symbol.asyncDispose]();
    files = ['export', 'backup.db'];
  });
  after(() => rmSync(dir, { recursive: true }));

  const list = (file: string, ...args: readonly string[]) =>
    runAssay(['audit', 'list', '--from', file, ...args], { cwd: dir });
  async function numbers(file: string, ...args: readonly string[]): Promise<readonly number[]> {
    const { out } = await list(file, ...args, '-o', 'json');
    const { items, next }: { items: AuditEntry[]; next: unknown } = JSON.parse(out);
    assert.equal(next, null);
    return items.map(({ seq }) => seq);
  }

  const cases: readonly (readonly [line: string, found: readonly number[]])[] = [
    ['', [1, 2, 3, 4]],
    ['--node node-1', [1, 3]],
    ['--node node/node-2', [3, 4]],
    ['--actor alice', [2, 3]],
    ['--actor token:alice', [2]],
    ['--action enrol,verdict', [1, 4]],
    ['--action enrol --action verdict', [1, 4]],
    ['--since 3h', [3, 4]],
    [`--until ${new Date(now - 3 * hour).toISOString()}`, [1, 2]],
    ['--since 4h --until 3h', [2]],
    ['--limit 2', [3, 4]],
    ['--limit 9', [1, 2, 3, 4]],
    ['--limit 1 --actor alice', [3]],
    ['--node nobody', []],
  ];
  for (const [line, found] of cases)
    it(`finds ${found.join(', ') || 'nothing'} by '${line}', in an export and in a backup`, async () => {
      for (const file of files)
        assert.deepEqual(await numbers(file, ...line.split(' ').filter((word) => word !== '')), found, file);
    });

  it('shows a moment as RFC 3339 and no control character, in each form', async () => {
    for (const form of ['table', 'wide', 'json', 'yaml']) {
      const { code, out } = await list('export', '-o', form);
      assert.equal(code, 0);
      assert.match(out, /2026-11-20T10:00:00/);
      assert.equal(out.includes('\u001b'), false);
    }
    const { items, next } = parse((await list('export', '-o', 'yaml')).out);
    assert.deepEqual([items.length, items[1].actor, next], [4, 'token:alice', null]);
    assert.deepEqual(parse((await list('export', '--node', 'no', '-o', 'yaml')).out), {
      items: [],
      next: null,
    });
  });

  it('writes nothing beside a backup', async () => {
    const earlier = readdirSync(dir);
    await list('backup.db');
    assert.deepEqual(readdirSync(dir), earlier);
  });

  it('names the action that was probably meant, and all that there are, with exit code 2', async () => {
    const near = await list('export', '--action', 'enrol.aprove');
    assert.deepEqual([near.code, /did you mean enrol\.approve\?/.test(near.err)], [2, true]);
    const none = await list('export', '--action', 'xyzzy');
    assert.deepEqual([none.code, /policy\.rollback/.test(none.err)], [2, true]);
    for (const wrong of ['--since yesterday', '--until 2026-11-20T08:00:00', '--limit 0', '--node A_B'])
      assert.equal((await list('export', ...wrong.split(' '))).code, 2, wrong);
  });

  it('shows what it could read of a damaged file, and ends with 1', async () => {
    const [first] = made;
    const entry = { seq: 1, prev: genesis, hash: genesis, ...first, at: 1e300 };
    writeFileSync(join(dir, 'damaged'), `${JSON.stringify({ entry })}\n{"entry":{"se`);
    for (const args of [[], ['--limit', '3']]) {
      const { code, out, err } = await list('damaged', ...args);
      assert.equal(code, 1);
      assert.match(out, /1e\+300 +agent:node-1 +enrol/);
      assert.match(err, /what was read before is shown/);
    }
    assert.equal((await list('missing')).code, 1);
  });
});
