import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { kubelet } from '../../../swtpm-fixtures/api-server/users.ts';
import { opened } from './opened.ts';

describe('a kubelet that writes thousands of conditions into its Node, again and again', () => {
  it('has it read a few times, as it is by then, and no other Node waits for that (row 359)', async function () {
    this.timeout(60_000);
    await using api = await openApiServer({ rbac: false, bookmarkEvery: 50 });
    await api.createNode('n1');
    await api.createNode('n2');
    let ahead = 0;
    await using room = await opened(api, {}, { requestWithin: 10_000 }, () => performance.now() + ahead);
    const { nodes } = room.kubernetes;
    await until(() => nodes.synced());
    let told = 0;
    nodes.onChange((name) => {
      if (name === 'n1') told += 1;
    });
    const label = (name: string, labels: { turn: string }) =>
      api
        .as(kubelet(name))
        .request('PATCH', `/api/v1/nodes/${name}`, { metadata: { labels } }, 'application/merge-patch+json');
    const long = 'x'.repeat(1_000);
    const conditions = Array.from({ length: 1_000 }, (_, i) => ({
      ...{ type: `c${i}`, status: 'True', message: long },
    }));
    const { code } = await api
      .as(kubelet('n1'))
      .request(
        'PATCH',
        '/api/v1/nodes/n1/status',
        { status: { conditions } },
        'application/merge-patch+json',
      );
    assert.equal(code, 200);
    for (let turn = 0; turn < 12; turn++) {
      await label('n1', { turn: `${turn}` });
      await label('n2', { turn: `${turn}` });
      await until(() => nodes.get('n2')?.labels.turn === `${turn}`);
    }
    assert.ok(told <= 6, `${told} times of 13`);
    ahead = 60_000;
    await until(() => nodes.get('n1')?.labels.turn === '11');
    assert.ok(room.asked.includes('get nodes 200'));
    assert.ok(told <= 9, `${told} times of 13`);
    assert.equal(nodes.get('n1')?.conditions.length, 1_000);
    assert.deepEqual(room.restarts, []);
  });
});

async function until(is: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!is()) {
    assert.ok(performance.now() < end, `never came: ${is}`);
    await sleep(5);
  }
}
