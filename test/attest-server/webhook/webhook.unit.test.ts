import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { madeVerdict } from '../store/made-records.ts';
import { identityIn } from '../tls/made-identity.ts';
import { Receiver } from './receiver.ts';
import { ToldStore, until } from './told-store.ts';

describe('the webhook', () => {
  let receiver: Receiver;
  let told: ToldStore;

  beforeEach(async () => {
    receiver = await Receiver.open();
    told = new ToldStore();
  });
  afterEach(async () => {
    await told[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
  });

  const url = () => `http://127.0.0.1:${receiver.port}/hook?of=assay`;
  const pause = (by: string) => told.log('cluster.pause', 'cluster', { actor: by });

  it('tells a change of state with reasons, state before and the command that shows more', async () => {
    told.clusterUid = async () => 'cluster-1';
    await told.open(url());
    await told.enrol('node-1');
    await told.judge('node-1', madeVerdict('trusted'), null);
    await told.judge('node-1', madeVerdict('untrusted', 'kernel_unknown', 'secureboot_off'), 'trusted');
    // Another verdict in the same state is no event.
    await told.judge('node-1', madeVerdict('untrusted', 'secureboot_off'), 'untrusted');
    await told.log('cluster.resume', 'cluster');
    await receiver.until(3);
    const [first, second, third] = receiver.received.map(({ message }) => message);
    assert.deepEqual(
      [first?.event, first?.node, first?.from, first?.state, first?.reasons],
      ['node.state', 'node-1', null, 'trusted', []],
    );
    const text = 'The kernel is another one.';
    assert.deepEqual(
      [second?.from, second?.state, second?.reasons, second?.text, second?.next, second?.cluster],
      [
        'trusted',
        'untrusted',
        [
          { code: 'kernel_unknown', class: 'drift', text },
          { code: 'secureboot_off', class: 'posture', text },
        ],
        text,
        'assay why node-1',
        'cluster-1',
      ],
    );
    assert.deepEqual([third?.event, third?.node, third?.subject], ['cluster.resume', null, 'cluster']);
    assert.deepEqual(told.said, []);
  });

  it('tells that a node flaps, and its state of that moment', async () => {
    await told.open(url());
    await told.log('flaps', 'node-1', {
      actor: 'server',
      code: 'kernel_unknown',
      detail: { state: 'untrusted', changes: 57, states: 'trusted untrusted', codes: 'kernel_unknown' },
    });
    await receiver.until(1);
    const [{ message } = assert.fail()] = receiver.received;
    assert.deepEqual(
      [
        message.event,
        message.node,
        message.state,
        message.reasons[0]?.code,
        message.detail.changes,
        message.next,
      ],
      ['node.flaps', 'node-1', 'untrusted', 'kernel_unknown', 57, 'assay history node-1'],
    );
  });

  it('signs moment and body with each secret, as receivers of Standard Webhooks check it', async () => {
    const before = randomBytes(24);
    told.writeSecrets(told.secret, before);
    await told.open(url());
    await pause('token:alice');
    await receiver.until(1);
    const [{ headers, body, path, message } = assert.fail()] = receiver.received;
    const id = String(headers['webhook-id']);
    const moment = String(headers['webhook-timestamp']);
    const signed = [told.secret, before].map(
      (secret) => `v1,${createHmac('sha256', secret).update(`${id}.${moment}.${body}`).digest('base64')}`,
    );
    assert.equal(headers['webhook-signature'], signed.join(' '));
    assert.deepEqual([id, path, message.by], [message.id, '/hook?of=assay', 'token:alice']);
    assert(Math.abs(Number(moment) - Date.now() / 1000) < 10);
  });

  for (const [name, answer, results] of [
    ['answers with an error', 500, 'rejected'],
    ['redirects', { status: 307, headers: { location: '/elsewhere' } }, 'rejected'],
    ['resets the connection', 'reset', 'unreachable'],
    ['answers what is no HTTP', 'garbage', 'unreachable'],
    ['gives no answer', 'hang', 'timed_out'],
  ] as const)
    it(`tells again, in order and under the same id, where the receiver ${name}`, async () => {
      const seen = new Set<string>();
      receiver.answers(({ message: { id } }) => {
        if (seen.has(id)) return 204;
        seen.add(id);
        return answer;
      });
      // A busy machine may take longer for the answer that is to count.
      await told.open(url(), { within: answer === 'hang' ? 100 : 5_000 });
      await pause('token:a');
      await pause('token:b');
      await receiver.until(4);
      await until(() => told.webhook?.told?.shown().waiting === 0);
      const [a, b] = [...seen];
      assert.deepEqual(receiver.ids, [a, a, b, b]);
      assert.deepEqual(
        receiver.received.map(({ message, path }) => `${message.by} ${path}`),
        ['token:a', 'token:a', 'token:b', 'token:b'].map((by) => `${by} /hook?of=assay`),
      );
      assert.deepEqual(told.results, [results, 'delivered', results, 'delivered']);
      assert.equal(told.webhook?.told?.shown().fault, null);
    });

  it('reads no endless answer', async () => {
    receiver.answers('endless');
    await told.open(url(), { within: 1000 });
    await pause('token:a');
    await pause('token:b');
    await receiver.until(2);
    await until(() => told.results.length === 2);
    assert.deepEqual(told.results, ['delivered', 'delivered']);
  });

  it('leaves a receiver alone for as long as it asks, and each failure longer', async () => {
    receiver.answers({ status: 503, headers: { 'retry-after': '3600' } });
    const { told: shown } = await told.open(url());
    await pause('token:a');
    await until(() => told.results.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(told.results, ['rejected']);
    assert.equal(shown?.shown().fault, 'the receiver answered 503');
    assert.deepEqual(told.said, ['failing: the receiver answered 503']);
  });

  it('goes on after a message that the receiver refuses for itself, and says so once', async () => {
    receiver.answers(({ message }) => (message.by === 'token:bad' ? 422 : 204));
    await told.open(url());
    await pause('token:bad');
    await pause('token:bad');
    await pause('token:good');
    await until(() => told.results.at(-1) === 'delivered');
    assert.deepEqual(told.results, [
      ...Array(5).fill('rejected'),
      'dropped',
      ...Array(5).fill('rejected'),
      'dropped',
      'delivered',
    ]);
    assert.equal((await told.actions()).filter((action) => action === 'webhook.drop').length, 1);
    assert.equal(told.said.at(-1), 'works, 2 dropped');
  });

  it('keeps no more than its bounds while nobody takes anything, and counts what it drops', async () => {
    receiver.answers(500);
    const { figures } = await told.open(url(), { most: 10, longestWait: 60_000, firstWait: 60_000 });
    for (let count = 0; count < 25; count += 1) await pause(`token:${count}`);
    await until(() => told.results.filter((result) => result === 'dropped').length === 15);
    assert.equal(figures().waiting, 10);
    told.ahead = 25 * 3_600_000;
    await until(() => figures().waiting === 0);
    assert.equal(told.results.filter((result) => result === 'dropped').length, 25);
    const dropped = (await told.store.audit.entries({ limit: 100 })).filter(
      ({ action }) => action === 'webhook.drop',
    );
    assert.deepEqual(
      dropped.map(({ detail: { why } }) => why),
      ['count'],
    );
  });

  it('delays no verdict while the receiver hangs', async () => {
    receiver.answers('hang');
    await told.open(url(), { within: 60_000 });
    await told.enrol('node-1');
    await told.judge('node-1', madeVerdict('trusted'), null);
    await receiver.until(1);
    const begun = performance.now();
    for (let turn = 0; turn < 50; turn += 1) {
      const [from, to] =
        turn % 2 === 0 ? (['trusted', 'unknown'] as const) : (['unknown', 'trusted'] as const);
      await told.judge('node-1', madeVerdict(to), from, Date.now() + turn);
    }
    const took = performance.now() - begun;
    assert(took < 5_000, `${took} ms`);
    assert.equal(receiver.received.length, 1);
    // Nor does it delay the end of the server.
    const ending = performance.now();
    await told.closeWebhook();
    assert(performance.now() - ending < 2_000);
  });

  it('tells after a new start what was not told before it, and nothing of before its first', async () => {
    await told.open(null);
    await pause('token:before');
    await told.open(url());
    receiver.answers(500);
    await pause('token:a');
    await receiver.until(1);
    await told.closeWebhook();
    await pause('token:b');
    receiver.answers(204);
    receiver.received.length = 0;
    await told.open(url());
    await receiver.until(2);
    assert.deepEqual(
      receiver.received.map(({ message }) => message.by),
      ['token:a', 'token:b'],
    );
    await until(() => told.webhook?.told?.shown().waiting === 0);
    // Once switched off, another receiver of another day is told of nothing that was meanwhile.
    await told.closeWebhook();
    await told.open(null);
    await pause('token:unheard');
    await told.open(url());
    await pause('token:c');
    await receiver.until(3);
    assert.equal(receiver.received.at(-1)?.message.by, 'token:c');
  });

  it('trusts nobody but the authorities of its file, and reads secret and file again', async () => {
    const identity = await identityIn(join(told.folder, 'tls'), ['localhost', '127.0.0.1'], Date.now());
    await using secure = await Receiver.open({ key: identity.key, cert: identity.chain });
    const webhook = await told.open(`https://localhost:${secure.port}/`);
    const tried = await webhook.told?.test('token:alice');
    assert.deepEqual([tried?.delivered, tried?.status], [false, null]);
    assert.match(tried?.text ?? '', /SELF_SIGNED|UNABLE_TO/);
    await told.closeWebhook();
    told.caFile = identity.caFile;
    const trusting = await told.open(`https://localhost:${secure.port}/`);
    assert.equal((await trusting.told?.test('token:alice'))?.delivered, true);
    assert.deepEqual(
      secure.received.map(({ message }) => [message.event, message.by]),
      [['webhook.test', 'token:alice']],
    );
    const other = randomBytes(32);
    told.writeSecrets(other);
    trusting.read();
    await trusting.told?.test('token:alice');
    const { headers, body } = secure.received.at(-1) ?? assert.fail();
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    assert.equal(
      headers['webhook-signature'],
      `v1,${createHmac('sha256', other).update(signed).digest('base64')}`,
    );
  });

  it('names setting and file of a faulty secret, says nothing of it, and keeps the one of before', async () => {
    const webhook = await told.open(url());
    const faults: readonly (readonly [text: string, mode: number, error: RegExp])[] = [
      ['', 0o600, /^webhook\.secretFile: \S+ is empty/],
      ['password123\n', 0o600, /^webhook\.secretFile: \S+ has a line that is no secret/],
      ['whsec_c2hvcnQ=\n', 0o600, /^webhook\.secretFile: \S+ has a line that is no secret/],
      [
        `whsec_${randomBytes(32).toString('base64')}\n`,
        0o644,
        /^webhook\.secretFile: \S+ is open to everybody/,
      ],
    ];
    for (const [text, mode, error] of faults) {
      writeFileSync(told.secretFile, text);
      chmodSync(told.secretFile, mode);
      assert.throws(
        () => webhook.read(),
        ({ message }: Error) => error.test(message) && !/password123|c2hvcnQ/.test(message),
      );
    }
    assert.equal((await webhook.told?.test('token:alice'))?.delivered, true);
  });

  it('keeps a message within its bound, whatever the reasons say', async () => {
    await told.open(url());
    await told.enrol('node-1');
    const verdict = madeVerdict('untrusted', ...Array(200).fill('kernel_unknown'));
    const long = {
      ...verdict,
      reasons: verdict.reasons.map((reason) => ({ ...reason, text: '\u0000é'.repeat(5000) })),
    };
    await told.judge('node-1', long, null);
    await receiver.until(1);
    const [{ body, message } = assert.fail()] = receiver.received;
    assert(Buffer.byteLength(body) <= 32 * 1024);
    assert.equal(message.reasons.length + message.moreReasons, 200);
  });
});
