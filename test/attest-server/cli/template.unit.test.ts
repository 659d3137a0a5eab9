import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  referenceOf,
  startApi,
  statusOf,
  verdictOf,
} from '../http/api-fixture.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

describe('a template of the output', () => {
  let server: ApiServer;
  before(async () => {
    const world = emptyWorld();
    const verdict = verdictOf();
    for (const name of ['node-1', 'node-2'])
      world.nodes.set(name, { enrolled: enrolled(name), status: statusOf(name, verdict) });
    world.references.push(referenceOf('workers-2026'));
    world.history.push({
      ...{ node: 'node-1', at: now - 9000, since: now - 9000, verdict, evidenceDigest: null },
      ...{ transition: true, repeats: 0 },
    });
    server = await startApi(world);
  });
  after(() => server.close());

  for (const [command, template, printed] of [
    ['get nodes', '{.items[*].name}', /^node-1 node-2$/],
    ['describe node-2', '{.name} {.state}', /^node-2 trusted$/],
    ['describe node-1 node-2', '{.items[*].name}', /^node-1 node-2$/],
    ['why node-2', '{.name} {.state}', /^node-2 trusted$/],
    ['history node-1', '{range .items[*]}{.state}{"\\n"}{end}', /^trusted\n$/],
    ['get enrolments', '{.items[*].name}', /^node-1 node-2$/],
    ['get references', '{.items[0].name}', /^workers-2026$/],
    ['reference list', '{.items[0].name}', /^workers-2026$/],
    ['get policy', '{.revision}', /^[\da-f]{12}$/],
    ['get tokens', '{.items[*].name}', /^taken$/],
  ] as const)
    it(`is printed by ${command}, as a path and in columns`, async () => {
      const env = environmentOf(server, 'admin-token');
      const asked = (format: string) => runAssay([...command.split(' '), '-o', format], { env });
      const path = await asked(`jsonpath=${template}`);
      assert.deepEqual([path.code, path.err.replace(/^\d+ nodes: .*\n/, '')], [0, '']);
      assert.match(path.out, printed);
      const columns = await asked('custom-columns=NAME:.name');
      assert.equal(columns.code, 0);
      assert.match(columns.out, /^NAME\n/);
      assert.equal((await asked('jsonpath={.name')).code, 2);
    });
});
