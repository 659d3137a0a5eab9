import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { PublishedAuthorities } from '../../../attest-server/tls/published-authorities.ts';

const [first, next, foreign] = ['first\n', 'next\n', 'foreign\n'];

describe('the authorities that agents of the cluster get', () => {
  let data: Readonly<Record<string, string>> | null;
  let fault: ClusterError | null;
  let writes: number;
  let wanted: string;
  let time: number;
  let codes: string[];
  let published: PublishedAuthorities;

  beforeEach(() => {
    [data, fault, writes, wanted, time, codes] = [{}, null, 0, first, 0, []];
    published = open();
  });
  const open = () =>
    new PublishedAuthorities({
      keeper: {
        place: 'assay-agents/assay-authority',
        async read() {
          if (fault !== null) throw fault;
          return data;
        },
        async write(wanted) {
          if (data === null) throw new ClusterError('not_found', 'there is no ConfigMap');
          data = { ...data, ...wanted };
          writes += 1;
        },
      },
      wanted: () => wanted,
      monotonic: () => time,
      logger: pino({}, { write: (line) => void codes.push(JSON.parse(line).code) }),
    });
  const turn = (ms: number) => {
    time += ms;
    return published.turn();
  };

  it('are written at the start beside what else is there, and not again while they stay', async () => {
    data = { note: 'of a person' };
    await turn(0);
    assert.deepEqual(data, { note: 'of a person', 'ca.crt': first });
    for (let minute = 0; minute < 3; minute++) await turn(60_000);
    assert.equal(writes, 1);
    published = open();
    await turn(0);
    assert.deepEqual([writes, codes], [1, ['authorities_published']]);
  });

  it('are both at once where another one is announced, and the new one alone after that', async () => {
    await turn(0);
    wanted = `${first}${next}`;
    await turn(1);
    assert.equal(data?.['ca.crt'], `${first}${next}`);
    wanted = next;
    await turn(1);
    assert.equal(data?.['ca.crt'], next);
    assert.deepEqual(new Set(codes), new Set(['authorities_published']));
  });

  for (const [what, changed] of [
    ['emptied', {}],
    ['replaced', { 'ca.crt': foreign }],
  ] as const)
    it(`come back within a minute where they were ${what}, and not by asking each second`, async () => {
      await turn(0);
      data = changed;
      for (let second = 1; second < 60; second++) await turn(1000);
      assert.deepEqual(data, changed);
      await turn(1000);
      assert.deepEqual(data, { 'ca.crt': first });
      assert.equal(codes.includes('authorities_replaced'), what === 'replaced');
    });

  it('are said to be missing once while the API does not take them, and are tried again', async () => {
    fault = new ClusterError('forbidden', 'no right to get configmaps');
    await turn(0);
    await turn(9_999);
    await turn(1);
    assert.match(published.fault ?? '', /assay-agents\/assay-authority: no right to get configmaps/);
    assert.deepEqual(codes, ['authorities_not_published']);
    fault = null;
    await turn(10_000);
    assert.deepEqual([published.fault, data?.['ca.crt']], [null, first]);
  });

  it('are not written into a ConfigMap that nobody made', async () => {
    data = null;
    await turn(0);
    assert.match(published.fault ?? '', /there is no ConfigMap/);
    assert.equal(writes, 0);
  });

  it('wait for no API at the end', async () => {
    const hanging = new PublishedAuthorities({
      keeper: { place: 'a/b', read: () => new Promise(() => {}), write: async () => {} },
      wanted: () => first,
      monotonic: () => 0,
      logger: pino({ level: 'silent' }),
    });
    void hanging.turn();
    await hanging.close(1);
  });
});
