import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { createAgentTokens } from '../../../attest-server/kubernetes/agent-tokens.ts';
import { createOperators } from '../../../attest-server/kubernetes/operators.ts';
import type { ClusterRequest } from '../../../attest-server/kubernetes/requests.ts';
import { TokenReviews } from '../../../attest-server/kubernetes/token-reviews.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

const nodeName = 'authentication.kubernetes.io/node-name';
const agent = 'system:serviceaccount:assay:assay-agent';
type Status = Record<string, unknown>;
const statusOf = (user: object, more: Status = {}): Status => ({
  authenticated: true,
  audiences: ['assay'],
  user,
  ...more,
});

let now: number;
let asked: ClusterRequest[];
let answer: (request: ClusterRequest) => unknown;
let reviews: TokenReviews;
const requests = {
  async json(request: ClusterRequest) {
    asked.push(request);
    return answer(request);
  },
};

beforeEach(() => {
  now = 0;
  asked = [];
  answer = () => ({ status: { authenticated: false } });
  reviews = new TokenReviews({ requests, lane: 'agents', monotonic: () => now });
});

describe('the node of an agent’s token', () => {
  const nodeOf = (token = 'a.b.c', source = '10.0.0.1') =>
    createAgentTokens({ reviews, account: { namespace: 'assay', name: 'assay-agent' } })(token, {
      source,
      node: null,
      isAtHome: false,
    });
  const good = { username: agent, extra: { [nodeName]: ['node-1'] } };

  it('is the one that the API names for a token of the agent’s account, made for this server', async () => {
    answer = () => ({ status: statusOf(good) });
    assert.equal(await nodeOf(), 'node-1');
    assert.deepEqual(
      asked.map(({ verb, path, body }) => [verb, path, body]),
      [
        [
          'create',
          '/apis/authentication.k8s.io/v1/tokenreviews',
          {
            apiVersion: 'authentication.k8s.io/v1',
            kind: 'TokenReview',
            spec: { token: 'a.b.c', audiences: ['assay'] },
          },
        ],
      ],
    );
  });

  const bad: Readonly<Record<string, Status>> = {
    'is none of a token that the API does not know': { authenticated: false, user: good },
    'is none of another audience': statusOf(good, { audiences: ['api'] }),
    'is none where the API does not say for which audience': statusOf(good, { audiences: [] }),
    'is none of another account': statusOf({ ...good, username: 'system:serviceaccount:assay:other' }),
    'is none of the same name in another namespace': statusOf({
      ...good,
      username: 'system:serviceaccount:default:assay-agent',
    }),
    'is none of a token that is bound to no node': statusOf({ username: agent }),
    'is none where the API names two nodes': statusOf({
      username: agent,
      extra: { [nodeName]: ['node-1', 'node-2'] },
    }),
  };
  for (const [name, status] of Object.entries(bad))
    it(`${name} (row 13)`, async () => {
      answer = () => ({ status });
      assert.equal(await nodeOf(), null);
    });

  it('is asked for once a minute for each token, and ten seconds after a token that is none', async () => {
    answer = () => ({ status: statusOf(good) });
    await Promise.all([nodeOf(), nodeOf(), nodeOf()]);
    now = 59_999;
    await nodeOf();
    assert.equal(asked.length, 1);
    now = 60_000;
    answer = () => ({ status: { authenticated: false } });
    assert.equal(await nodeOf(), null);
    now += 9_999;
    await nodeOf();
    assert.equal(asked.length, 2);
    now += 1;
    answer = () => ({ status: statusOf(good) });
    assert.equal(await nodeOf(), 'node-1');
    assert.equal(await nodeOf('another'), 'node-1');
    assert.equal(asked.length, 4);
  });

  it('is unknown where the API gives no answer, and the next one asks again', async () => {
    answer = () => {
      throw new ClusterError('unreachable', 'create tokenreviews: no answer');
    };
    await assert.rejects(nodeOf(), (error) => {
      assert.ok(error instanceof Rejection && error.code === 'token_rejected');
      assert.match(error.message, /nobody could say whose token this is: .*no answer/);
      assert.equal(error.message.includes('a.b.c'), false);
      return true;
    });
    answer = () => ({ status: statusOf(good) });
    assert.equal(await nodeOf(), 'node-1');
    answer = () => ({ kind: 'Nonsense', status: 7 });
    await assert.rejects(nodeOf('other'), Rejection);
  });

  it('is not asked for without end: made-up tokens of one source are refused, those of others are not', async () => {
    for (let count = 0; count < 500; count++)
      await nodeOf(`made.up.${count}`, '192.0.2.1').catch((error: unknown) => {
        assert.ok(error instanceof Rejection && error.code === 'token_rejected');
      });
    assert.equal(asked.length, 64);
    answer = () => ({ status: statusOf(good) });
    assert.equal(await nodeOf('good', '192.0.2.2'), 'node-1');
    now += 1_000;
    assert.equal(await nodeOf('good.too', '192.0.2.1'), 'node-1');
  });

  it('is asked for again where it was good before, however many come from beside it or from strangers', async () => {
    answer = ({ body }) => ({
      status: String(Object(body).spec.token).startsWith('good') ? statusOf(good) : { authenticated: false },
    });
    assert.equal(await nodeOf('good.1', '192.0.2.1'), 'node-1');
    now += 60_000;
    const flood = async (source: (count: number) => string) => {
      for (let count = 0; count < 3_000; count++)
        await nodeOf(`made.up.${now}.${count}`, source(count)).catch(() => {});
    };
    // Behind one address: an agent that comes again is asked about, one that never came waits its turn.
    await flood(() => '192.0.2.1');
    assert.equal(await nodeOf('good.1', '192.0.2.1'), 'node-1');
    await assert.rejects(nodeOf('good.2', '192.0.2.1'), Rejection);
    now += 60_000;
    // From everywhere: also a new token of an address from which a good one came.
    await flood((count) => `10.${count >> 8}.${count & 255}.1`);
    assert.equal(await nodeOf('good.1', '203.0.113.9'), 'node-1');
    assert.equal(await nodeOf('good.2', '192.0.2.1'), 'node-1');
    await assert.rejects(nodeOf('good.3', '203.0.113.10'), Rejection);
    // What was taken back has nothing of its own any more.
    answer = () => ({ status: { authenticated: false } });
    now += 60_000;
    assert.equal(await nodeOf('good.1', '198.51.100.1'), null);
    await flood((count) => `10.${count >> 8}.${count & 255}.2`);
    now += 10_000;
    await flood(() => '198.51.100.1');
    await assert.rejects(nodeOf('good.1', '198.51.100.1'), Rejection);
  });

  it('is none of what is no token, and nobody is asked about it: one token has no second form', async () => {
    answer = () => ({ status: statusOf(good) });
    for (const text of ['', 'a.b.c\n', ' a.b.c', 'a b', 'a\u0000b', '\u00e9', '='])
      assert.equal(await nodeOf(text), null);
    assert.equal(asked.length, 0);
  });

  it('is asked for with a bound on the answer, of which an error repeats no word', async () => {
    await nodeOf();
    assert.deepEqual(
      asked.map(({ isSecret, longest }) => [isSecret, longest]),
      [[true, 262_144]],
    );
  });

  it('is kept within bounds, however much the API says of whose it is', async () => {
    answer = () => ({ status: statusOf({ ...good, groups: ['g'.repeat(200_000)] }) });
    for (let count = 0; count < 200; count++) await nodeOf(`a.b.${count}`, `10.0.${count}.1`);
    assert.equal(asked.length, 200);
    await nodeOf('a.b.199');
    assert.equal(asked.length, 200);
    await nodeOf('a.b.0');
    assert.equal(asked.length, 201, 'the oldest had to go');
  });

  it('is not asked for without end by many sources together', async () => {
    for (let count = 0; count < 5_000; count++)
      await nodeOf(`made.up.${count}`, `10.${count >> 8}.${count & 255}.1`).catch(() => {});
    assert.equal(asked.length, 2048);
  });
});

describe('an operator of the cluster', () => {
  let allowed: readonly string[];
  let user: object;
  beforeEach(() => {
    allowed = [];
    user = { username: 'alice', uid: 'u-1', groups: ['team'], extra: { scopes: ['a'] } };
    answer = ({ path, body }) =>
      path.endsWith('tokenreviews')
        ? { status: statusOf(user) }
        : { status: { allowed: allowed.includes(verbIn(body)) } };
  });
  const whoIs = (audience: string | null = 'assay') =>
    createOperators({ reviews, requests, audience, monotonic: () => now }).whoIs('a.b.c', '10.0.0.1');

  it('has the role of the mightiest verb that the cluster grants', async () => {
    for (const [verbs, role] of [
      [[], 'none'],
      [['read'], 'reader'],
      [['read', 'operate'], 'operator'],
      [['administer'], 'admin'],
    ] as const) {
      allowed = verbs;
      assert.deepEqual(await whoIs(), { name: 'kubernetes:alice', role });
    }
    const { body } = asked.at(-1) ?? {};
    assert.deepEqual(body, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user: 'alice',
        uid: 'u-1',
        groups: ['team'],
        extra: { scopes: ['a'] },
        resourceAttributes: { group: 'assay.dev', resource: 'attestations', verb: 'administer' },
      },
    });
  });

  it('is nobody where the API does not vouch for the token, or it is for another audience', async () => {
    user = {};
    assert.equal(await whoIs(), null);
    answer = () => ({ status: statusOf({ username: 'alice' }, { audiences: ['api'] }) });
    now += 100_000;
    assert.equal(await whoIs(), null);
    // A token for the API itself is asked about without an audience.
    answer = ({ path }) =>
      path.endsWith('tokenreviews')
        ? { status: statusOf({ username: 'alice' }, { audiences: undefined }) }
        : { status: { allowed: true } };
    assert.equal((await whoIs(null))?.role, 'admin');
  });

  it('is nobody under the name that stands for nobody', async () => {
    user = { username: 'system:anonymous', groups: ['system:unauthenticated'] };
    allowed = ['administer'];
    assert.equal(await whoIs(), null);
  });

  it('loses within a minute what the cluster grants no longer', async () => {
    allowed = ['administer'];
    const operators = createOperators({ reviews, requests, audience: 'assay', monotonic: () => now });
    const role = async () => (await operators.whoIs('a.b.c', '10.0.0.1'))?.role;
    assert.equal(await role(), 'admin');
    const before = asked.length;
    allowed = [];
    now = 59_999;
    assert.equal(await role(), 'admin');
    assert.equal(asked.length, before);
    now = 60_000;
    assert.equal(await role(), 'none');
  });

  it('is granted nothing by an answer that is none, and nothing is kept of it', async () => {
    answer = ({ path }) => (path.endsWith('tokenreviews') ? { status: statusOf(user) } : { status: 'yes' });
    assert.equal((await whoIs())?.role, 'none');
    answer = ({ path }) => {
      if (path.endsWith('tokenreviews')) return { status: statusOf(user) };
      throw new ClusterError('forbidden', 'no right');
    };
    const operators = createOperators({ reviews, requests, audience: 'assay', monotonic: () => now });
    await assert.rejects(operators.whoIs('a.b.c', '10.0.0.1'), ClusterError);
    answer = () => ({ status: { allowed: true } });
    assert.equal((await operators.whoIs('a.b.c', '10.0.0.1'))?.role, 'admin');
  });

  it('has a name that no line of a log breaks at, and that is no other’s', async () => {
    const nameOf = async (username: string) => {
      user = { username };
      now += 100_000;
      return (await whoIs())?.name ?? '';
    };
    assert.equal(
      await nameOf('system:serviceaccount:ci:deploy'),
      'kubernetes:system:serviceaccount:ci:deploy',
    );
    const long = [await nameOf('a'.repeat(500)), await nameOf('a'.repeat(501))];
    const odd = [await nameOf('a\nb'), await nameOf('a?b'), await nameOf('a b'), await nameOf('a_b')];
    // Attack: somebody is given the very name that another's became.
    const taken = [...long, ...odd].map((name) => name.replace('kubernetes:', ''));
    const same: string[] = [];
    for (const name of taken) same.push(await nameOf(name));
    assert.equal(new Set([...long, ...odd, ...same]).size, 10);
    for (const name of [...long, ...odd, ...same]) assert.match(name, /^kubernetes:[\x21-\x7e]{1,128}$/);
  });
});

function verbIn(body: unknown): string {
  const { spec } = Object(body);
  return String(spec.resourceAttributes.verb);
}
