import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { createClusterTokens } from '../../../attest-server/http/cluster-tokens.ts';
import type { ClusterUsers } from '../../../attest-server/http/ports.ts';
import { HttpProblem } from '../../../attest-server/http/problem.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';

describe('a token of the cluster at the API', () => {
  const shown: string[] = [];
  const users: ClusterUsers = {
    async whoIs(token, source) {
      shown.push(`${token} from ${source}`);
      if (token === 'no.answer') throw new ClusterError('unreachable', 'no answer in time');
      if (token === 'too.many') throw new ClusterError('too_many', 'come again later');
      if (token === 'our.fault') throw new TypeError('a fault of ours');
      return token === 'of.nobody' ? null : { name: 'kubernetes:alice', role: 'operator' };
    },
  };
  const caller = (header: string | undefined, of: ClusterUsers | null = users) =>
    createClusterTokens(of).authenticate(header, '::ffff:192.0.2.1');

  it('is whoever the cluster says, and nobody where the server is in none', async () => {
    assert.deepEqual(await caller('Bearer a.b.c'), {
      name: 'kubernetes:alice',
      role: 'operator',
      expiresAt: null,
    });
    assert.deepEqual(shown.splice(0), ['a.b.c from 192.0.2.1']);
    assert.equal(await caller('Bearer of.nobody'), null);
    assert.equal(await caller('Bearer a.b.c', null), null);
  });

  it('is nothing that looks like a token of the server’s own, or like no token: that is shown to nobody', async () => {
    shown.splice(0);
    for (const header of [
      undefined,
      '',
      'Basic YTpi',
      `Bearer ${'A'.repeat(43)}`,
      `Bearer ${'a_-9'.repeat(20)}`,
      `Bearer assay.${'a'.repeat(12)}.${'b'.repeat(43)}`,
      `bearer ASSAY.${'a'.repeat(12)}.${'b'.repeat(43)}`,
      `Bearer assay-join.v1.${'a'.repeat(12)}.${'b'.repeat(43)}.${'c'.repeat(64)}`,
      'Bearer a b.c',
      'Bearer a.b\u0000',
      `Bearer a.${'b'.repeat(9_000)}`,
    ])
      assert.equal(await caller(header), null, String(header));
    assert.deepEqual(shown, []);
    await caller('Bearer sha256~abcdef');
    await caller('bearer ya29.abc==');
    assert.equal(shown.length, 2);
  });

  it('is told apart from one that nobody could look at', async () => {
    const statusOf = async (header: string) => {
      const error = await caller(header).then(
        () => null,
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof HttpProblem);
      assert.equal(error.headers['retry-after'], '5');
      return `${error.status} ${error.code}`;
    };
    assert.equal(await statusOf('Bearer no.answer'), '503 server_fault');
    assert.equal(await statusOf('Bearer too.many'), '429 busy');
    await assert.rejects(caller('Bearer our.fault'), TypeError);
  });
});
