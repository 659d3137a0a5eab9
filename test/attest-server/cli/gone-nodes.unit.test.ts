import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
} from '../http/api-fixture.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

describe('nodes that are gone from the cluster', () => {
  const world = emptyWorld();
  let server: ApiServer;
  let env: Record<string, string>;
  const assay = (line: string) => runAssay(line.split(' '), { env });
  const rows = async (line: string) =>
    (await assay(line)).out.split('\n').flatMap((row) => {
      const [, name = '', state = ''] = /^(node-\d)\s{2,}(.*?)\s{2,}/.exec(row) ?? [];
      return name === '' ? [] : [`${name} ${state}`];
    });

  before(async () => {
    const overdue = verdictOf({ state: 'unknown', reasons: [reasonOf('evidence_overdue')] });
    const changed = verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] });
    const put = (name: string, verdict: typeof overdue) =>
      world.nodes.set(name, { enrolled: enrolled(name), status: statusOf(name, verdict) });
    put('node-1', verdictOf());
    put('node-2', overdue);
    put('node-3', changed);
    put('node-4', overdue);
    const missingSince = Date.parse('2026-11-20T10:00:00Z');
    world.absences.set('node-2', { missingSince, goneAt: missingSince + 600_000 });
    world.absences.set('node-3', { missingSince, goneAt: missingSince + 600_000 });
    world.absences.set('node-4', { missingSince: now - 60_000, goneAt: null });
    server = await startApi(world);
    env = environmentOf(server, 'reader-token');
  });
  after(() => server.close());

  it('are not listed, unless they are untrusted; what is only missed is', async () => {
    assert.deepEqual(await rows('get nodes'), [
      'node-1 trusted 2/6',
      'node-3 untrusted (gone)',
      'node-4 unknown',
    ]);
    assert.match((await assay('get nodes')).err, /^3 nodes: /);
  });

  it('are listed with --all, where they are named, and where keys are listed', async () => {
    const gone = 'node-2 unknown (gone)';
    assert.ok((await rows('get nodes --all')).includes(gone));
    assert.deepEqual(await rows('get nodes --all --state unknown'), [gone, 'node-4 unknown']);
    assert.deepEqual(await rows('get nodes node-2'), [gone]);
    assert.ok((await rows('get enrolments')).some((row) => row.startsWith('node-2 ')));
  });

  it('are described with since when', async () => {
    const { out } = await assay('describe node-2 --utc');
    assert.match(out, /^State: +unknown \(gone\)$/m);
    assert.match(out, /^Missing: +since 2026-11-20T10:00:00Z/m);
    assert.match(out, /^Gone: +since 2026-11-20T10:10:00Z$/m);
    const { out: here } = await assay('describe node-1');
    assert.ok(!/^(Missing|Gone):/m.test(here), here);
  });
});
