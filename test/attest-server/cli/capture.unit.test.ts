import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import { notSimulated, type SimulatedNode } from '../../../attest-server/policy/draft/simulation.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
} from '../http/api-fixture.ts';
import { capturedFrom, madeProof } from '../policy/made-proof.ts';
import { environmentOf, type Ran, runAssay } from './cli-fixture.ts';

const log = recordedLog('debian13-shim-grub');
const lacks = {
  ...reasonOf('facts_unavailable'),
  aspect: 'boot',
  actual: 'longer than 262144 bytes',
} as const;
const lacking = (node: string, now: NodeState): SimulatedNode => ({
  node,
  before: { state: now, group: 'workers', mode: 'enforce', reasons: [] },
  after: { state: 'pending', group: 'workers', mode: 'enforce', reasons: [lacks] },
  changed: true,
  note: null,
});

describe('a capture of a boot that gave its proof', () => {
  const world = emptyWorld();
  let server: ApiServer;
  before(async () => {
    server = await startApi(world);
    for (const name of ['node-1', 'node-2'])
      world.nodes.set(name, {
        enrolled: enrolled(name),
        status: statusOf(name, verdictOf(), { evidenceDigest: 'ab'.repeat(32) }),
      });
    world.proofs.set('node-1', madeProof({ log }));
    world.proofs.set('node-2', madeProof({ log, ima: null }));
  });
  after(() => server.close());
  afterEach(() => {
    world.references.length = 0;
    world.demanded.length = 0;
    world.earlier = false;
  });

  async function assay(line: string, answer?: string): Promise<Ran & { asked: number }> {
    let asked = 0;
    const ask = async () => {
      asked += 1;
      return answer ?? '';
    };
    const env = environmentOf(server, 'operator-token');
    const ran = await runAssay(line.split(' '), {
      env,
      cwd: server.dir,
      ask: answer === undefined ? null : ask,
    });
    return { ...ran, asked };
  }
  const capture = 'reference capture node-1 --name new';
  const made = () => world.references.map(({ name, aggregate = null }) => [name, aggregate]);

  it('needs nobody to ask where no node turns by it', async () => {
    const { code, err } = await assay(capture);
    assert.deepEqual([code, err, made()], [0, '', [['new', 'required']]]);
  });

  it('asks where a trusted node turns, and stores nothing before the answer is yes', async () => {
    world.demanded.push(lacking('node-7', 'trusted'), lacking('node-8', 'untrusted'));
    const alone = await assay(capture);
    assert.deepEqual([alone.code, alone.out, made()], [2, '', []]);
    for (const answer of ['n', '', 'yesterday']) {
      const { code, asked } = await assay(capture, answer);
      assert.deepEqual([code, asked, made()], [1, 1, []]);
    }
    const { code, err, asked } = await assay(capture, 'y');
    assert.deepEqual([code, asked, made()], [0, 1, [['new', 'required']]]);
    const rows = err.split('\n').map((line) => line.replace(/ {2,}/g, '|'));
    assert.match(rows[0] ?? '', /; 2 nodes do not give this proof; 1 would turn pending: node-7$/);
    assert.deepEqual(rows.slice(1, 4), [
      'NODE|NOW|THEN|LACKS',
      'node-7|trusted|pending|longer than 262144 bytes',
      'node-8|untrusted|pending|longer than 262144 bytes',
    ]);
  });

  it('asks nobody with --yes, for one that is staged, or where nodes lack it that are not trusted', async () => {
    world.demanded.push(lacking('node-7', 'trusted'));
    assert.equal((await assay(`${capture} --yes`)).code, 0);
    const staged = await assay('reference capture node-1 --name later --staged');
    assert.equal(staged.code, 0);
    assert.match(staged.err, /once it is approved; 1 node does not give this proof/);
    world.demanded.splice(0, 1, lacking('node-8', 'untrusted'), notSimulated('node-9', 'erased'));
    const other = await assay('reference capture node-1 --name other');
    assert.deepEqual([other.code, made().length], [0, 3]);
    assert.match(other.err, /1 node cannot be judged: node-9\n/);
  });

  it('stores nothing with --dry-run, and says what it would make and of whom it would demand the proof', async () => {
    world.demanded.push(lacking('node-7', 'trusted'));
    const { code, out, err } = await assay(`${capture} --dry-run`);
    assert.deepEqual([code, err, made()], [0, '', []]);
    assert.match(out, /^would make reference new \(boot\) captured from node-1 /);
    assert.match(out, /1 would turn pending: node-7\n/);
    const shown = JSON.parse((await assay(`${capture} --dry-run -o json`)).out);
    assert.deepEqual([shown.references[0].aggregate, shown.items[0].node], ['required', 'node-7']);
  });

  it('demands nothing with --no-aggregate, and of a node that did not give it, which it says', async () => {
    world.demanded.push(lacking('node-7', 'trusted'));
    const without = await assay(`${capture} --no-aggregate`);
    assert.deepEqual([without.code, without.err], [0, '']);
    const unproven = await assay('reference capture node-2 --name unproven');
    assert.equal(unproven.code, 0);
    assert.match(unproven.err, /^node-2 has not proven .* reference unproven demands that of no node\n$/);
    assert.deepEqual(made(), [
      ['new', null],
      ['unproven', null],
    ]);
    const files = await assay('reference capture node-1 --kind runtime --no-aggregate --name files');
    assert.equal(files.code, 2);
  });

  it('goes on at a server of an earlier version, whose references demand nothing', async () => {
    world.earlier = true;
    assert.equal((await assay(capture)).code, 0);
    assert.equal((await assay('reference capture node-1 --name tried --dry-run')).code, 1);
  });

  it('is told to differ from one that demands nothing, and to demand when it is imported', async () => {
    const demanding = { ...capturedFrom(madeProof({ log }), { name: 'a' }), aggregate: 'required' } as const;
    const { aggregate: _, ...plain } = demanding;
    for (const [file, reference] of Object.entries({ a: demanding, b: { ...plain, name: 'b' } }))
      writeFileSync(join(server.dir, `${file}.json`), JSON.stringify(reference));
    const diff = await assay('reference diff ./a.json ./b.json -o json');
    assert.deepEqual([diff.code, JSON.parse(diff.out).demanded], [10, 'first']);
    assert.match((await assay('reference import ./a.json')).err, /a demands the proof boot_aggregate/);
    assert.equal((await assay('reference import ./b.json')).err, '');
  });
});
