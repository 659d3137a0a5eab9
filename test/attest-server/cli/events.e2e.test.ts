import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { eventMessage } from '../../../attest-server/formats/event.ts';
import { enrolledNode } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { honestAgent } from '../honest-agent.ts';
import { Relay } from '../http/relay.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { runAssay } from './cli-fixture.ts';

describe('assay with a stream of events', () => {
  let world: TestServer;
  let relay: Relay;
  let env: Readonly<Record<string, string>>;
  let stopped: AbortController;

  beforeEach(async () => {
    world = await startTestServer();
    relay = new Relay(world.server.apiPort);
    env = { ...world.env(), ASSAY_SERVER: `https://127.0.0.1:${await relay.open()}` };
    stopped = new AbortController();
  });
  afterEach(async () => {
    stopped.abort();
    relay?.[Symbol.dispose]();
    await world?.[Symbol.asyncDispose]();
  });

  const assay = (line: string) => runAssay(line.split(' '), { env, now: Date.now });
  const start = (line: string) => {
    const ran = { out: '', err: '', code: Promise.resolve(-1) };
    const told = (to: 'out' | 'err') => (text: string) => {
      ran[to] += text;
    };
    ran.code = runAssay(line.split(' '), {
      ...{ env, now: Date.now, out: told('out'), err: told('err') },
      interrupted: () => stopped.signal,
    }).then(({ code }) => code);
    return ran;
  };
  const isHeard = () => world.metric('assay_event_streams');
  const revoke = (node: string) => world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'sold' });
  const parsed = (out: string) =>
    out
      .trim()
      .split('\n')
      .map((line) => eventMessage.parse(JSON.parse(line)));
  const eventsIn = (out: string) => parsed(out).map(({ event, node }) => `${event} ${node}`);

  it('shows what happened, all of it, what one chooses, or what came after', async () => {
    for (const node of ['node-1', 'node-2']) await enrolledNode(world, forgedTpm(), node);
    await revoke('node-1');
    const { code, out, err } = await assay('events');
    const [heading = '', ...rows] = out.trimEnd().split('\n');
    assert.deepEqual(
      [code, err, heading.split(/ {2,}/)],
      [0, '', ['TIME', 'EVENT', 'SUBJECT', 'STATE', 'BY', 'WHAT']],
    );
    assert.deepEqual(
      rows.map((line) => line.split(/ {2,}/).slice(1, 5)),
      [
        ['node.state', 'node-1', 'pending', 'server'],
        ['node.state', 'node-2', 'pending', 'server'],
        ['node.revoked', 'node-1', '-', 'token:admin'],
      ],
    );
    const all = parsed((await assay('events -o json')).out);
    const rest = await assay(`events -o json --after ${all[0]?.id}`);
    assert.deepEqual(parsed(rest.out), all.slice(1));
    const chosen = await assay('events -o json --node node/node-1 --event node.revoked,exempt');
    assert.deepEqual(eventsIn(chosen.out), ['node.revoked node-1']);
    assert.deepEqual(await assay('events -o json --group other'), { code: 0, out: '', err: '' });
  });

  it('follows, over a lost connection and a restart, tells each event once, and ends with 0 by Ctrl-C', async () => {
    const ran = start('events --follow -o json');
    await world.until(isHeard);
    await enrolledNode(world, forgedTpm(), 'node-1');
    await world.until(() => ran.out !== '');
    relay.cut();
    await enrolledNode(world, forgedTpm(), 'node-2');
    await world.until(() => ran.out.includes('node-2'));
    assert.match(ran.err, /^assay: .*; trying again\nassay: the server answers again\n$/);
    await world.restart();
    await revoke('node-1');
    relay.to = world.server.apiPort;
    await world.until(() => ran.out.includes('node.revoked'));
    stopped.abort();
    assert.equal(await ran.code, 0);
    assert.deepEqual(eventsIn(ran.out), ['node.state node-1', 'node.state node-2', 'node.revoked node-1']);
  });

  it('follows no longer once its token is taken back, and says so', async () => {
    const made = await assay('token create --name page --role reader -o json');
    const file = join(world.stateDir, 'page.token');
    await writeFile(file, JSON.parse(made.out).token, { mode: 0o600 });
    const ran = start(`events --follow --token-file ${file}`);
    await world.until(isHeard);
    await world.call('DELETE', '/v1/tokens/page');
    assert.equal(await ran.code, 1);
    assert.match(ran.err, /refused the token/);
  });

  it('refuses what is no filter before it asks, and an event that the log does not have', async () => {
    for (const [line, code, says] of [
      ['events --event node.stat', 2, /node\.stat is no event.*node\.state/],
      ['events --node ..', 2, /--node/],
      ['events --after yesterday', 2, /neither the id of an event/],
      ['events --after evt_1_0000000000000000', 1, /has no event/],
    ] as const) {
      const ran = await assay(line);
      assert.equal(ran.code, code, line);
      assert.match(ran.err, says);
    }
  });

  it('shows with --watch what changes as it changes, also where it looks once a day by itself', async () => {
    const ran = start('get nodes --watch --interval 1d --no-headers');
    await world.until(isHeard);
    const tpm = forgedTpm();
    await world.pin('node-1', tpm.ekDigest);
    const { peer, ended } = await honestAgent(world, tpm, 'node-1');
    await world.until(() => /^node-1 +pending/m.test(ran.out));
    await peer.close();
    await ended;
    await revoke('node-1');
    await world.until(() => /node-1 is no longer a node/.test(ran.err));
  });

  it('asks with --wait when something changed, and seldom otherwise', async () => {
    const asked = () =>
      world.metric('assay_http_request_duration_seconds_count{method="GET",route="/v1/nodes",code="200"}');
    await enrolledNode(world, forgedTpm(), 'node-1');
    const ran = start('get nodes --wait trusted --timeout 1m');
    await world.until(isHeard);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    assert((await asked()) <= 2, `${await asked()}`);
    await revoke('node-1');
    await world.until(async () => (await asked()) === 3);
    stopped.abort();
    await world.restart();
    assert.equal(await ran.code, 1);
  });
});
