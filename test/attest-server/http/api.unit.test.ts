import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import * as api from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { simulateAnswer } from '../../../attest-server/api/policy-api.ts';
import { problem } from '../../../attest-server/api/problem.ts';
import { reference } from '../../../attest-server/formats/reference.ts';
import { StorageFault } from '../../../attest-server/formats/server-fault.ts';
import { routes } from '../../../attest-server/http/routes.ts';
import { notSimulated } from '../../../attest-server/policy/draft/simulation.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { enrolments, unmatched } from '../../../attest-server/policy/policy.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { filesReference } from '../policy/made-files.ts';
import { madeProof } from '../policy/made-proof.ts';
import {
  type ApiServer,
  ask,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  referenceOf,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from './api-fixture.ts';

describe('the API', () => {
  let world: World;
  let server: ApiServer;

  before(async () => {
    world = emptyWorld();
    for (const name of ['node-1', 'node-2', 'node-3']) {
      world.nodes.set(name, {
        enrolled: enrolled(name),
        status: statusOf(name, verdictOf(), { evidenceDigest: 'ab'.repeat(32) }),
      });
      world.proofs.set(name, madeProof({ log: recordedLog('debian13-shim-grub') }));
    }
    world.nodes.set('node-2', {
      enrolled: enrolled('node-2'),
      status: statusOf('node-2', verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] }), {
        evidenceDigest: 'ab'.repeat(32),
      }),
    });
    for (const [index, at] of [9, 8, 8, 8, 7].entries())
      world.history.push({
        node: 'node-1',
        at: now - 10_000 + at,
        verdict: verdictOf(),
        evidenceDigest: null,
        transition: index === 4,
        repeats: 0,
        since: now - 10_000 + at,
      });
    server = await startApi(world);
  });
  after(() => server.close());

  const lower = { admin: 'operator-token', operator: 'reader-token' } as const;
  for (const route of routes) {
    const { method, role } = route;
    const path = route.path.replaceAll(/\{\w+\}/g, 'node-1');
    const send = (token: string | null) =>
      ask(server, path, { method, token, ...(method === 'POST' && { body: '{}' }) });
    if (role === 'none') {
      it(`answers ${method} ${route.path} without credentials`, async () => {
        assert.equal((await send(null)).status, 200);
      });
      continue;
    }
    it(`refuses ${method} ${route.path} without credentials and with a wrong token`, async () => {
      for (const token of [null, 'wrong-token', '']) {
        const { status, headers } = await send(token);
        assert.equal(status, 401);
        assert.match(String(headers['www-authenticate']), /^Bearer/);
        assert.equal(headers['content-type'], 'application/problem+json');
      }
    });
    if (role === 'reader') continue;
    it(`refuses ${method} ${route.path} to a lower role than ${role}`, async () => {
      assert.equal((await send(lower[role])).status, 403);
    });
  }

  it('asks an operator for everything that changes something', () => {
    const open = routes.filter(
      ({ method, role }) => method !== 'GET' && (role === 'none' || role === 'reader'),
    );
    assert.deepEqual(open, []);
  });

  it('lists nodes in pages, each node with exactly its members', async () => {
    const first = await ask(server, '/v1/nodes?limit=2');
    const page = listOf(nodeView.strict()).parse(JSON.parse(first.text));
    assert.deepEqual(
      page.items.map(({ name, state, reason }) => [name, state, reason]),
      [
        ['node-1', 'trusted', null],
        ['node-2', 'untrusted', 'kernel_unknown'],
      ],
    );
    assert.equal(page.next, 'node-2');
    const rest = JSON.parse((await ask(server, `/v1/nodes?limit=2&after=${page.next}`)).text);
    assert.deepEqual([rest.items.length, rest.next], [1, null]);
  });

  it('says what to do next about each reason, in lines, finished by what it knows of the node', async () => {
    const boot = 'cd'.repeat(32);
    const kept = 'ef'.repeat(32);
    const reason = reasonOf('kernel_unknown', { evidence: { digest: boot, position: 'event 94' } });
    world.nodes.set('node-4', {
      enrolled: enrolled('node-4'),
      status: statusOf('node-4', verdictOf({ state: 'untrusted', reasons: [reason] }), {
        bootSeenAt: Date.parse('2026-11-20T11:01:30Z'),
        parts: { boot },
        recordedEvidence: kept,
      }),
    });
    const node = nodeView.parse(JSON.parse((await ask(server, '/v1/nodes/node-4')).text));
    world.nodes.delete('node-4');
    assert.equal(node.evidence, kept);
    assert.deepEqual(node.reasons[0]?.evidence, { digest: boot, position: 'event 94', bundle: kept });
    const commands = node.reasons[0]?.next?.split('\n').filter((line) => line.startsWith('  '));
    assert.deepEqual(commands, [
      '  assay boot diff node-4',
      '  assay reference capture node-4 --name node-4-20261120-efefef --staged',
      '  assay reference approve node-4-20261120-efefef --reason "its boots are wanted"',
      '  assay bundle node-4 --evidence efefefefefef -f node-4.json',
    ]);
  });

  it('takes twelve digits of a digest for evidence, and no less', async () => {
    for (const [digits, status] of [
      ['ab'.repeat(6), 404],
      ['ab'.repeat(32), 404],
      ['ab'.repeat(5), 400],
      ['ab'.repeat(33), 400],
      ['AB'.repeat(6), 400],
    ] as const)
      assert.equal((await ask(server, `/v1/nodes/node-1/bundle?evidence=${digits}`)).status, status, digits);
  });

  it('keeps history entries of one moment on one page', async () => {
    const first = JSON.parse((await ask(server, '/v1/nodes/node-1/history?limit=3')).text);
    assert.equal(first.items.length, 1);
    const second = JSON.parse(
      (await ask(server, `/v1/nodes/node-1/history?limit=50&before=${first.next}`)).text,
    );
    assert.deepEqual([second.items.length, second.next], [4, null]);
  });

  it('captures a reference once, and says by whom', async () => {
    const body = JSON.stringify({ node: 'node-1', name: 'workers-1', staged: true });
    const made = await ask(server, '/v1/references', { method: 'POST', token: 'operator-token', body });
    assert.equal(made.status, 201);
    assert.equal(world.references[0]?.captured?.by, 'token:operator');
    const again = await ask(server, '/v1/references', { method: 'POST', token: 'operator-token', body });
    assert.equal(again.status, 409);
  });

  it('captures several nodes at once, and refuses a request that names none, too many, or both ways', async () => {
    const send = (body: object) =>
      ask(server, '/v1/references', {
        method: 'POST',
        token: 'operator-token',
        body: JSON.stringify({ name: 'workers-both', ...body }),
      });
    for (const [body, status] of [
      [{}, 400],
      [{ nodes: [] }, 400],
      [{ nodes: Array.from({ length: 65 }, (_, index) => `node-${index}`) }, 400],
      [{ node: 'node-1', nodes: ['node-1'] }, 400],
      [{ nodes: ['node-1', 'node-99'] }, 404],
    ] as const)
      assert.equal((await send(body)).status, status, JSON.stringify(body).slice(0, 80));
    const made = await send({ nodes: ['node-1', 'node-2'], staged: true });
    assert.equal(made.status, 201, made.text);
    const { name, others } = api.captureAnswer.parse(JSON.parse(made.text));
    assert.deepEqual([name, others], ['workers-both', []]);
  });

  it('gives what a step of a reference would change, page by page, or why that step is not open', async () => {
    const simulate = (path: string, body: object) =>
      ask(server, `/v1/references/${path}/simulate`, {
        method: 'POST',
        token: 'operator-token',
        body: JSON.stringify(body),
      });
    world.references.push({ ...referenceOf('tried'), state: 'active' });
    const nodes = ['node-1', 'node-2', 'node-3'];
    world.simulated.push(...nodes.map((node) => notSimulated(node, 'its evidence was erased')));
    const first = simulateAnswer.parse(JSON.parse((await simulate('tried/revoke', { limit: 2 })).text));
    assert.deepEqual([first.items.map(({ node }) => node), first.next], [['node-1', 'node-2'], 'node-2']);
    const rest = await simulate('tried/revoke', { limit: 2, after: first.next });
    const { items, next } = simulateAnswer.parse(JSON.parse(rest.text));
    assert.deepEqual([items.map(({ node }) => node), next], [['node-3'], null]);
    for (const [path, body, status] of [
      ['tried/approve', {}, 409],
      ['nobody/revoke', {}, 404],
      ['..%2ftried/revoke', {}, 404],
      ['tried/revoke', { limit: 501 }, 400],
      ['tried/revoke', { reason: 'it is bad' }, 400],
    ] as const)
      assert.equal((await simulate(path, body)).status, status, path);
    world.busy = true;
    const { status, headers } = await simulate('tried/revoke', {});
    world.busy = false;
    assert.deepEqual([status, headers['retry-after']], [429, '2']);
    assert.equal(world.references.find(({ name }) => name === 'tried')?.state, 'active');
  });

  it('says of each reference of which kind it is', async () => {
    world.references.push({ ...referenceOf('rules'), kind: 'firewall' });
    const listed = listOf(api.referenceView.strict()).parse(
      JSON.parse((await ask(server, '/v1/references')).text),
    );
    assert.deepEqual(
      listed.items.flatMap(({ name, kind }) => (name === 'rules' ? [kind] : [])),
      ['firewall'],
    );
  });

  it('takes in a list of files whole, shows how many there are, gives it out, and deletes it once it is retired', async () => {
    const post = (path: string, body: object) =>
      ask(server, `/v1/references/${path}`, {
        method: 'POST',
        token: 'operator-token',
        body: JSON.stringify(body),
      });
    const files = filesReference('files', ['/a', '/b']);
    const faulty = { ...files, runtime: { ...files.runtime, count: 3 } };
    assert.equal((await post('import', faulty)).status, 409);
    assert.equal((await post('import', files)).status, 201);
    const listed = (await ask(server, '/v1/references')).text;
    assert.ok(!listed.includes(files.runtime?.files ?? ''));
    const [view] = listOf(api.referenceView.strict())
      .parse(JSON.parse(listed))
      .items.filter(({ name }) => name === 'files');
    assert.deepEqual([view?.files, view?.policies, view?.keys], [2, 0, 0]);
    const whole = reference.parse(JSON.parse((await ask(server, '/v1/references/files')).text));
    assert.deepEqual(whole.runtime, files.runtime);
    const reason = { reason: 'because' };
    assert.equal((await post('files/delete', reason)).status, 409);
    assert.equal((await post('files/retire', reason)).status, 200);
    assert.equal((await post('files/delete', {})).status, 400);
    const gone = await post('files/delete', reason);
    assert.deepEqual([gone.status, JSON.parse(gone.text)], [200, { deleted: 'files' }]);
    assert.equal((await post('files/delete', reason)).status, 404);
  });

  it('captures some files alone only of the kind that has files', async () => {
    const send = (body: object) =>
      ask(server, '/v1/references', {
        method: 'POST',
        token: 'operator-token',
        body: JSON.stringify({ node: 'node-1', name: 'one-file', ...body }),
      });
    for (const [body, field] of [
      [{ only: ['/a'] }, 'body.only'],
      [{ kind: 'runtime', only: [] }, 'body.only'],
      [{ kind: 'runtime', only: [''] }, 'body.only'],
      [{ kind: 'runtime', only: Array.from({ length: 257 }, String) }, 'body.only'],
    ] as const) {
      const { status, text } = await send(body);
      assert.deepEqual([status, JSON.parse(text).field.slice(0, 9)], [400, field]);
    }
  });

  it('refuses a body of brackets alone, however large a reference may be', async () => {
    const { status } = await ask(server, '/v1/references/import', {
      method: 'POST',
      token: 'operator-token',
      body: `[${'[],'.repeat(600_000)}[]]`,
    });
    assert.equal(status, 413);
  });

  it('hands decisions on enrolment on with the name of who decides', async () => {
    const send = (path: string, body: object) =>
      ask(server, `/v1/enrolments/${path}`, {
        method: 'POST',
        token: 'operator-token',
        body: JSON.stringify(body),
      });
    const approved = await send('node-1/approve', { ek: 'ab'.repeat(32) });
    assert.deepEqual(api.approveAnswer.parse(JSON.parse(approved.text)).waiting, true);
    assert.equal((await send('approve-all', {})).status, 201);
    assert.equal((await send('node-1/revoke', { reason: 'sold' })).status, 201);
    assert.deepEqual(world.decisions, [
      `token:operator approves node-1 ${'ab'.repeat(32)}`,
      'token:operator approves all',
      'token:operator revokes node-1: sold',
    ]);
    for (const [path, body, status] of [
      ['node-1/approve', { ek: 'ab'.repeat(31) }, 400],
      ['node-1/approve', { ek: 'ab'.repeat(33) }, 400],
      ['Node_1/approve', { ek: 'ab'.repeat(32) }, 404],
      ['node-1/revoke', { reason: ' \u001b[31m' }, 400],
      ['node-9/revoke', { reason: 'sold' }, 404],
    ] as const)
      assert.equal((await send(path, body)).status, status, path);
  });

  it('lists waiting TPMs with exactly their members', async () => {
    world.waiting.push({
      node: 'node-7',
      ekDigest: 'cd'.repeat(32),
      ekPublicArea: Buffer.alloc(0),
      address: '10.0.0.7',
      certificateSubject: null,
      manufacturer: 'IFX',
      firstSeen: now,
      lastSeen: now,
      attempts: 2,
      nameIsEnrolled: false,
      isApproved: true,
    });
    const { text } = await ask(server, '/v1/enrolments');
    const [item] = listOf(api.candidateView.strict()).parse(JSON.parse(text)).items;
    assert.deepEqual([item?.node, item?.ek, item?.approved], ['node-7', 'cd'.repeat(32), true]);
  });

  it('makes a token for one name once, and says where there is none to revoke', async () => {
    const send = (name: string) =>
      ask(server, '/v1/tokens', {
        method: 'POST',
        token: 'admin-token',
        body: JSON.stringify({ name, role: 'reader' }),
      });
    const made = api.tokenAnswer.parse(JSON.parse((await send('alice')).text));
    assert.deepEqual([made.token, made.expiresAt], ['text of alice', null]);
    assert.equal((await send('taken')).status, 409);
    const revoke = (name: string) =>
      ask(server, `/v1/tokens/${name}`, { method: 'DELETE', token: 'admin-token' });
    assert.equal((await revoke('taken')).status, 200);
    assert.equal((await revoke('nobody')).status, 404);
  });

  it('makes a join token of at most a day', async () => {
    const send = (ttlSeconds: number) =>
      ask(server, '/v1/join-tokens', {
        method: 'POST',
        token: 'operator-token',
        body: JSON.stringify({ node: 'node-9', ttlSeconds }),
      });
    assert.equal(JSON.parse((await send(60)).text).token, 'assay-join-token');
    assert.deepEqual(world.joinTokens, [{ node: 'node-9', ttlMs: 60_000, actor: 'token:operator' }]);
    assert.equal((await send(86_401)).status, 400);
  });

  const bad: readonly (readonly [string, number, string, Parameters<typeof ask>[2]])[] = [
    ['an unknown path', 404, '/v1/secrets', {}],
    ['an unknown node', 404, '/v1/nodes/node-9', {}],
    ['a name that is none', 404, '/v1/nodes/..%2fnode-1', {}],
    ['a bad percent-encoding', 400, '/v1/nodes/%ff', {}],
    ['an unknown query parameter', 400, '/v1/nodes?sort=up', {}],
    ['a query parameter given twice', 400, '/v1/nodes?limit=1&limit=2', {}],
    ['a limit out of range', 400, '/v1/nodes?limit=100000', {}],
    ['a method that the path does not take', 405, '/v1/nodes', { method: 'DELETE' }],
    [
      'a body of another type',
      415,
      '/v1/pins',
      { method: 'POST', token: 'admin-token', body: 'x', headers: { 'content-type': 'text/plain' } },
    ],
    ['a body that is not JSON', 400, '/v1/pins', { method: 'POST', token: 'admin-token', body: '{' }],
    [
      'a body that is too large',
      413,
      '/v1/join-tokens',
      { method: 'POST', token: 'admin-token', body: JSON.stringify({ node: 'x'.repeat(70_000) }) },
    ],
    [
      'pins that name a node twice',
      400,
      '/v1/pins',
      {
        method: 'POST',
        token: 'admin-token',
        body: JSON.stringify({
          pins: ['a', 'b'].map((digit) => ({ node: 'node-1', ek: digit.repeat(64) })),
        }),
      },
    ],
    [
      'a member that is not known',
      400,
      '/v1/join-tokens',
      { method: 'POST', token: 'admin-token', body: '{"node":"a","ttlSeconds":1,"role":"admin"}' },
    ],
  ];
  for (const [what, status, path, options] of bad)
    it(`answers ${what} with ${status} as a problem`, async () => {
      const answer = await ask(server, path, options);
      assert.equal(answer.status, status);
      assert.equal(answer.headers['content-type'], 'application/problem+json');
      assert.equal(problem.parse(JSON.parse(answer.text)).status, status);
    });

  it('shows the rules of each group as a policy file has them', async () => {
    const text = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: edge
    nodes: ['*']
    mode: observe
    require: [identity, boot, disk, firewall, host]
    disk: { paths: [/var/lib/kubelet] }
    firewall:
      require: ['inet  filter input hook input policy drop']
      forbid: ['input tcp 22,8000-9000 from anywhere but 10.0.0.0/8']
    host: { kernel: { minimum: '6.1' } }
`;
    world.policyGroups = parsePolicy(text, 'edge.yaml', enrolments).groups;
    const answer = await ask(server, '/v1/policy');
    world.policyGroups = [];
    assert.equal(answer.status, 200);
    const [group] = api.policyView.parse(JSON.parse(answer.text)).groups;
    assert.deepEqual(group?.firewall, {
      baseline: null,
      require: ['inet filter input hook input policy drop'],
      forbid: ['input tcp 22,8000-9000 from anywhere but 10.0.0.0/8'],
      owners: ['shipped'],
    });
  });

  it('answers what cannot be written as JSON with a problem, too', async () => {
    world.policyGroups = [Object.assign({ ...unmatched }, { ofLater: 1n })];
    const answer = await ask(server, '/v1/policy');
    world.policyGroups = [];
    assert.deepEqual([answer.status, answer.headers['content-type']], [500, 'application/problem+json']);
    assert.equal(world.faults.splice(0).length, 1);
  });

  it('asks a caller to come again where many ask about policies at once', async () => {
    world.busy = true;
    const { status, headers } = await ask(server, '/v1/policy/observations');
    world.busy = false;
    assert.deepEqual([status, headers['retry-after']], [429, '2']);
  });

  it('gives each problem a code of the closed list, and says in its own words which field is wrong (row 357)', async () => {
    const sendText = (path: string, body: string) =>
      ask(server, path, { method: 'POST', token: 'admin-token', body });
    const send = (path: string, body: object) => sendText(path, JSON.stringify(body));
    const ek = 'ab'.repeat(32);
    for (const [answer, code, field] of [
      [await ask(server, '/v1/nodes?limit=0'), 'invalid_field', 'query.limit'],
      [await ask(server, '/v1/nodes?limit=many'), 'invalid_field', 'query.limit'],
      [await ask(server, '/v1/nodes?sort=up'), 'invalid_field', 'query'],
      [await ask(server, '/v1/policy?limit=1'), 'invalid_field', 'query'],
      [await ask(server, '/v1/nodes?limit=1&limit=2'), 'invalid_field', 'query'],
      [await ask(server, '/v1/nodes/node-1/bundle?evidence=ab'), 'invalid_field', 'query.evidence'],
      [await send('/v1/join-tokens', {}), 'invalid_field', 'body.node'],
      [await send('/v1/join-tokens', { node: 7, ttlSeconds: 1 }), 'invalid_field', 'body.node'],
      [await send('/v1/join-tokens', { node: 'a', ttlSeconds: 1.5 }), 'invalid_field', 'body.ttlSeconds'],
      [await send('/v1/join-tokens', { node: 'a', ttlSeconds: 1, role: 'x' }), 'invalid_field', 'body'],
      [await send('/v1/join-tokens', []), 'invalid_field', 'body'],
      [await send('/v1/tokens', { name: 'a', role: 'root' }), 'invalid_field', 'body.role'],
      [await send('/v1/audit/resolve', { reason: '' }), 'invalid_field', 'body.reason'],
      [await send('/v1/audit/resolve', { reason: 'x'.repeat(513) }), 'invalid_field', 'body.reason'],
      [await send('/v1/pins', { pins: [] }), 'invalid_field', 'body.pins'],
      [await send('/v1/pins', { pins: [{ node: 'a', ek, own: 1 }] }), 'invalid_field', 'body.pins.0'],
      [await send('/v1/references/import', { captured: 'x' }), 'invalid_field', 'body.version'],
      [
        await sendText('/v1/join-tokens', '{"node":"a","ttlSeconds":1,"node":"b"}'),
        'invalid_field',
        'body.node',
      ],
      [
        await sendText(
          '/v1/pins',
          `{"pins":[{"node":"a","ek":"${ek}"},{"node":"b","ek":"${ek}","\\u0065k":""}]}`,
        ),
        'invalid_field',
        'body.pins.1.ek',
      ],
      [await ask(server, '/v1/nodes/%ff'), 'bad_request', undefined],
      [await ask(server, '/v1/nodes/node-9'), 'not_found', undefined],
      [await ask(server, '/v1/nodez'), 'unknown_path', undefined],
      [await ask(server, '/v1/nodes', { method: 'DELETE' }), 'method_not_allowed', undefined],
      [await ask(server, '/v1/nodes', { token: null }), 'token_rejected', undefined],
      [await ask(server, '/v1/tokens'), 'role_denied', undefined],
      [await send('/v1/tokens', { name: 'taken', role: 'reader' }), 'conflict', undefined],
    ] as const) {
      const said = problem.parse(JSON.parse(answer.text));
      assert.deepEqual([said.code, said.field], [code, field], answer.text);
      // What the library that finds it would say.
      assert.doesNotMatch(
        said.detail,
        /Invalid|Too (small|big)|expected|received|nrecognized|pattern|NaN/,
        said.detail,
      );
      if (field !== undefined) assert(said.detail.startsWith(`${field}: `), said.detail);
    }
  });

  it('does not send again what a caller has already, and keeps from others what only some may read', async () => {
    const paths = [
      '/v1/nodes',
      '/v1/references',
      '/v1/enrolments',
      '/v1/policy',
      '/v1/nodes/node-1',
      '/v1/audit',
    ];
    for (const path of paths) {
      const { headers, text } = await ask(server, path);
      const tag = String(headers.etag);
      assert.match(tag, /^"[\w-]{27}"$/);
      assert.deepEqual([headers['cache-control'], headers.vary], ['private, no-cache', 'authorization']);
      for (const known of [tag, `"other", W/${tag}`, '*']) {
        const again = await ask(server, path, { headers: { 'if-none-match': known } });
        assert.deepEqual([again.status, again.text, again.headers.etag], [304, '', tag]);
        assert.equal(again.headers['content-type'], undefined);
      }
      const other = await ask(server, path, { headers: { 'if-none-match': '"other"' } });
      assert.deepEqual([other.status, other.text], [200, text]);
      assert.equal((await ask(server, path, { method: 'HEAD' })).headers.etag, tag);
      const stranger = await ask(server, path, { token: null, headers: { 'if-none-match': tag } });
      assert.equal(stranger.status, 401);
      assert.equal(stranger.headers['cache-control'], 'no-store');
    }
    const before = await ask(server, '/v1/references');
    world.references.push(referenceOf('one-more'));
    const { etag } = before.headers;
    const changed = await ask(server, '/v1/references', { headers: { 'if-none-match': String(etag) } });
    assert.equal(changed.status, 200);
    const body = JSON.stringify({ name: 'bob', role: 'reader' });
    const secret = await ask(server, '/v1/tokens', { method: 'POST', token: 'admin-token', body });
    assert.deepEqual([secret.headers['cache-control'], secret.headers.etag], ['no-store', undefined]);
  });

  it('tells a caller nothing of a fault of ours, and tells the log', async () => {
    world.failing = true;
    const answer = await ask(server, '/v1/nodes');
    world.failing = false;
    assert.equal(answer.status, 500);
    assert.doesNotMatch(answer.text, /SECRET|\bat \//);
    assert.equal(world.faults.length, 1);
  });

  const full = { method: 'POST', token: 'operator-token' } as const;
  const written = [
    ['/v1/join-tokens', { node: 'node-1', ttlSeconds: 60 }],
    // Refused before it is tried: it writes much.
    ['/v1/pins', { pins: [] }],
  ] as const;
  for (const [path, body] of written)
    it(`says to POST ${path} that the disk is full, and what helps`, async () => {
      for (const [cause, status] of [
        ['disk_full', 507],
        ['read_only', 503],
      ] as const) {
        world.storage = new StorageFault(cause);
        const answer = await ask(server, path, { ...full, body: JSON.stringify(body) });
        world.storage = null;
        const told = problem.parse(JSON.parse(answer.text));
        assert.deepEqual([answer.status, told.code], [status, 'server_fault']);
        assert.equal(answer.headers['content-type'], 'application/problem+json');
        assert.match(told.next ?? '', /^ {2}\w+ .*\/var\/lib\/assay$/m);
      }
      world.faults.length = 0;
    });

  it('sends security headers and no permission for other origins', async () => {
    const { headers } = await ask(server, '/v1/nodes', { headers: { origin: 'https://evil.example' } });
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['cache-control'], 'private, no-cache');
    assert.ok(!Object.keys(headers).some((name) => name.startsWith('access-control-')));
  });

  it('is not ready with a reason where the server is not', async () => {
    world.ready = { ok: false, reason: 'the store cannot be written' };
    const answer = await ask(server, '/readyz', { token: null });
    world.ready = { ok: true, reason: null };
    assert.equal(answer.status, 503);
    assert.equal(JSON.parse(answer.text).reason, 'the store cannot be written');
  });

  it('makes its description into text once, and not at each request', async () => {
    const told = async () => (await ask(server, '/openapi.json', { token: null })).text;
    const first = await told();
    const stringify = JSON.stringify;
    let made = 0;
    JSON.stringify = new Proxy(stringify, {
      apply(target, self, given) {
        made += 1;
        return Reflect.apply(target, self, given);
      },
    });
    try {
      assert.equal(await told(), first);
    } finally {
      JSON.stringify = stringify;
    }
    assert.equal(made, 0);
  });

  it('describes every route of the table in OpenAPI', async () => {
    const described = JSON.parse((await ask(server, '/openapi.json', { token: null })).text);
    const listed = Object.entries<Record<string, unknown>>(described.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    assert.deepEqual(listed.sort(), routes.map(({ method, path }) => `${method} ${path}`).sort());
  });

  it('counts requests by the pattern of their route, never by their path', () => {
    const known = new Set(['unmatched', ...routes.map(({ path }) => path)]);
    assert.ok(world.answered.length > 0);
    assert.deepEqual(
      world.answered.filter(({ route }) => !known.has(route)),
      [],
    );
  });
});
