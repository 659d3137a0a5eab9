import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { problem } from '../../../attest-server/api/problem.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import {
  type ApiServer,
  ask,
  emptyWorld,
  enrolled,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
} from './api-fixture.ts';

const page = listOf(nodeView);

describe('a list of nodes that is filtered', () => {
  const world = emptyWorld();
  let server: ApiServer;
  const names = async (query: string, at = server) => {
    const { status, text } = await ask(at, `/v1/nodes${query}`);
    assert.equal(status, 200, text);
    return page.parse(JSON.parse(text)).items.map(({ name }) => name);
  };
  const refused = async (query: string) => {
    const { status, text } = await ask(server, `/v1/nodes${query}`);
    assert.equal(status, 400, text);
    return problem.parse(JSON.parse(text)).detail;
  };
  const add = (name: string, state: NodeState, group: string, ...codes: readonly ReasonCode[]) =>
    world.nodes.set(name, {
      enrolled: enrolled(name),
      status: statusOf(name, verdictOf({ state, group, reasons: codes.map((code) => reasonOf(code)) })),
    });

  before(async () => {
    add('node-1', 'trusted', 'workers');
    add('node-2', 'untrusted', 'workers', 'kernel_unknown', 'secureboot_off');
    add('node-3', 'pending', 'edge', 'no_reference');
    add('node-4', 'untrusted', 'edge', 'secureboot_off');
    world.nodes.set('node-5', { enrolled: enrolled('node-5'), status: null });
    server = await startApi(world);
  });
  after(() => server.close());

  for (const [query, expected] of [
    ['?state=untrusted', ['node-2', 'node-4']],
    ['?state=untrusted,trusted', ['node-1', 'node-2', 'node-4']],
    ['?state=unknown', []],
    ['?reason=secureboot_off', ['node-2', 'node-4']],
    ['?reason=enrolment_pending', ['node-5']],
    ['?group=edge', ['node-3', 'node-4']],
    ['?group=edge&state=untrusted', ['node-4']],
    ['?group=edge&state=untrusted&after=node-4', []],
  ] as const)
    it(`has ${expected.length} nodes of ${query}`, async () => {
      assert.deepEqual(await names(query), expected);
    });

  it('has each node once, page by page, and no empty last page', async () => {
    const found: string[] = [];
    const pages: number[] = [];
    for (let after: string | null = ''; after !== null; ) {
      const query: string = after === '' ? '' : `&after=${after}`;
      const { text } = await ask(server, `/v1/nodes?state=untrusted,trusted&limit=1${query}`);
      const { items, next } = page.parse(JSON.parse(text));
      found.push(...items.map(({ name }) => name));
      pages.push(items.length);
      after = next;
    }
    assert.deepEqual(
      [found, pages],
      [
        ['node-1', 'node-2', 'node-4'],
        [1, 1, 1],
      ],
    );
  });

  it('says what is wrong with a word, and which was probably meant', async () => {
    assert.match(await refused('?state=trustd'), /did you mean trusted/);
    assert.match(await refused('?reason=kernel'), /kernel is no reason code/);
    assert.match(await refused('?colour=red'), /allowed are state, reason, group/);
  });

  it('refuses a group that neither the policy nor any node has: empty would look like no fault', async () => {
    assert.match(await refused('?group=wrokers'), /did you mean workers/);
  });

  it('refuses labels where the server is in no cluster, and selects by them where it is', async () => {
    assert.match(await refused('?selector=zone%3Da'), /not in a cluster/);
    world.labels = new Map([
      ['node-1', { zone: 'a' }],
      ['node-2', { zone: 'b' }],
    ]);
    const inCluster = await startApi(world);
    try {
      assert.deepEqual(await names('?selector=zone%3Da', inCluster), ['node-1']);
      assert.deepEqual(await names('?selector=zone!%3Da,zone', inCluster), ['node-2']);
      assert.deepEqual(await names('?selector=zone&state=trusted', inCluster), ['node-1']);
    } finally {
      await inCluster.close();
    }
  });

  it('looks closely at no more nodes than it takes', async () => {
    let looked = 0;
    const { chooseNodes } = await import('../../../attest-server/http/choose-nodes.ts');
    const { listNodes } = await import('../../../attest-server/http/node-list.ts');
    const { portsOf } = await import('./api-fixture.ts');
    const ports = portsOf(world);
    const listed = (await listNodes(ports)).map(({ name, view }) => ({
      name,
      view: () => {
        looked += 1;
        return view();
      },
    }));
    chooseNodes(listed, { state: ['trusted'] }, ports, { after: undefined, most: 1 });
    assert.equal(looked, 1);
  });
});
