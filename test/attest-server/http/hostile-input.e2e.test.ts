import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { after, before, describe, it } from 'mocha';
import { startTestServer, type TestServer } from '../running-server.ts';

/** Characters: the most that a policy may have. */
const most = 1 << 18;
const filled = (unit: string, head = '') => head + unit.repeat((most - head.length) / unit.length);
const numbered = (of: (index: number) => string, head = '', tail = '') => {
  let text = head;
  for (let index = 0; text.length < most - 32; index += 1) text += of(index);
  return text + tail;
};
const groups = 'apiVersion: assay.dev/v1\nkind: Policy\ngroups: ';

/** What kept the server from everything else for up to 23 s each. */
const dear: Readonly<Record<string, string>> = {
  'lists in lists': filled('['),
  'lists in lists that end': `${'['.repeat(most / 2)}${']'.repeat(most / 2)}`,
  'mappings in mappings': filled('{a: '),
  'both, where groups stand': filled('[{', groups),
  'lists on one line': filled('- '),
  'keys that are mappings': filled('? '),
  'values of nothing': filled(': '),
  'nothing but commas': filled(',', '['),
  'nothing but quotes': filled('""'),
  'nothing but anchors': filled('&a '),
  'a mapping of very many keys': numbered((index) => `k${index}: 1\n`),
  'the same within braces': numbered((index) => `k${index}: 1, `, '{', '}'),
};

describe('input that somebody made for the time that it takes, over a real connection', () => {
  let world: TestServer;
  let token: string;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
    const created = await world.call('POST', '/v1/tokens', {
      name: 'op',
      role: 'operator',
      ttlSeconds: 3600,
    });
    assert(typeof created === 'object' && created !== null && 'token' in created);
    token = String(created.token);
  });
  after(() => world?.[Symbol.asyncDispose]());

  it('is refused as a policy to simulate, and the server answers others meanwhile (row 131)', async function () {
    this.timeout(120_000);
    for (const [what, policy] of Object.entries(dear)) {
      const [simulated, nodes] = await Promise.all([
        world.ask('POST', '/v1/policy/simulate', token, { policy, file: 'policy.yaml' }),
        world.ask('GET', '/v1/nodes', token),
      ]);
      assert.deepEqual([simulated.status, nodes.status], [400, 200], what);
    }
  });

  it('is refused where it names __proto__, at whatever depth (row 131)', async () => {
    const policy = 'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n- {name: a, nodes: ["*"]';
    for (const within of ['severity: {__proto__: info}', 'labels: {__proto__: x}', '__proto__: {}']) {
      const answer = await world.ask('POST', '/v1/policy/simulate', token, {
        policy: `${policy}, ${within}}\n`,
        file: 'policy.yaml',
      });
      assert.equal(answer.status, 400, within);
      assert.match(answer.text, /__proto__/);
    }
    const named: object = JSON.parse(`{"file": "p.yaml", "policy": "x", "__proto__": {"limit": 1}}`);
    for (const body of [named, JSON.parse('{"a": [{"__proto__": null}]}')]) {
      const answer = await world.ask('POST', '/v1/policy/simulate', token, body);
      assert.equal(answer.status, 400);
      assert.equal(JSON.parse(answer.text).code, 'malformed');
    }
  });

  it('is refused where it has a member twice, which one reads as this and another as that (row 357)', async () => {
    for (const [path, body, field] of [
      ['/v1/policy/simulate', '{"policy":"x","file":"p.yaml","policy":"y"}', 'body.policy'],
      ['/v1/pins', '{"pins":[{"node":"a","ek":"1","e\\u006b":"2"}]}', 'body.pins.0.ek'],
      ['/v1/references/import', `{"a":${'['.repeat(20_000)}{"b":1,"b":2}${']'.repeat(20_000)}}`, undefined],
    ] as const) {
      const { status, text } = await send(path, body);
      const said = JSON.parse(text);
      assert.deepEqual([status, said.code], [400, 'invalid_field'], text);
      if (field !== undefined) assert.equal(said.field, field);
      assert.ok(text.length < 1_500);
    }
  });

  /** A body that no program of ours writes. */
  async function send(
    path: string,
    body: string,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const asked = request({
      ...{ host: '127.0.0.1', port: world.server.apiPort, ca: world.ca, method: 'POST', path },
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    }).end(body);
    const [answer]: IncomingMessage[] = await once(asked, 'response');
    if (answer === undefined) throw new Error('no answer');
    let text = '';
    for await (const chunk of answer) text += String(chunk);
    return { status: answer.statusCode ?? 0, text };
  }
});
