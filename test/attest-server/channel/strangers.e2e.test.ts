import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { binaryFrame, type PcrBank, pcrBanks } from '../../../attest-server/wire/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { dial, enrolledNode, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { honestAgent } from '../honest-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { event } from '../verify/tpm/log-builder.ts';

const node = 'node-1';
/** Control characters as they are or as JSON escapes them, and what turns the direction of text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
const obeyed = /[\u0000-\u001f\u007f-\u009f\u202e]|\\u001b/;
/** A machine of the attacker. */
const elsewhere = '127.0.0.2';

describe('connections that have proven nothing', () => {
  it('do not keep the true agent out, whoever copied its keys into a hello (row 108)', async () => {
    await using world = await startTestServer({ policy: 'observe', answerWithin: 1, challengeEvery: 0.1 });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const known = await world.store.enrolment.node(node);
    const copies = await Promise.all([1, 2].map(() => introduce(world, tpm, node, { from: elsewhere })));
    for (const copy of copies) await copy.challenge();
    const honest = await honestAgent(world, tpm, node);
    await world.until(() => honest.states.length >= 3);
    const before = await world.metric('assay_refusals_total{code="identity_unproven"}');
    // Each of them had the time of one challenge, and is closed then; the proven one stays.
    for (const copy of copies) assert.equal(await unanswered(copy), 'identity_unproven');
    assert.equal(await world.metric('assay_refusals_total{code="identity_unproven"}'), before + 2);
    const already = honest.states.length;
    await world.until(() => honest.states.length > already + 3);
    assert(world.verdicts.every(({ verdict }) => verdict.state === 'trusted'));
    assert.deepEqual(await world.store.enrolment.node(node), known);
    await honest.peer.close();
  });

  it('report nothing in the name of a node, and its state does not move (rows 108, 124)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const before = await world.status(node);
    const verdicts = world.verdicts.length;
    const told = ['evidence_raced', 'facts_unavailable', 'audit_rollback'];
    for (const isOpen of [false, true])
      for (const code of told) {
        const copy = isOpen
          ? await introduce(world, tpm, node, { from: elsewhere })
          : await dial(world, { from: elsewhere });
        if (isOpen) await copy.challenge();
        copy.send({ type: 'error', code });
        assert.equal(await copy.refusal(), 'identity_unproven');
      }
    const copy = await introduce(world, tpm, node, { from: elsewhere });
    await copy.challenge();
    copy.send({ type: 'error', code: 'clone_suspected' });
    assert.equal(await copy.refusal(), 'malformed');
    assert.deepEqual(await world.status(node), before);
    assert.equal(world.verdicts.length, verdicts);
    for (const code of [...told, 'clone_suspected'])
      assert.equal(await world.metric(`assay_refusals_total{code="${code}"}`), 0);
    const entry = await world.until(async () =>
      (await world.audit()).find((each) => each.code === 'identity_unproven' && each.subject === node),
    );
    assert.deepEqual([entry.action, entry.actor], ['refuse', `address:${elsewhere}`]);
    assert(!(await world.audit()).some(({ code }) => code !== null && told.includes(code)));
  });

  it('ask for a challenge in the name of a node, and its state does not move (row 108)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const before = await world.status(node);
    const copy = await introduce(world, tpm, node, { from: elsewhere });
    await copy.challenge();
    copy.send({ type: 'changed', what: 'x' });
    await copy.close();
    assert.deepEqual(await world.status(node), before);
  });

  it('bring no checkpoint of the audit log: it is looked at once they are proven (row 124)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const first = await introduce(world, tpm, node);
    first.send(tpm.evidence(await first.challenge(), { node, hello: first.hello, channel: first.channel }));
    const { checkpoint } = await first.verdict();
    await first.close();
    assert(checkpoint !== undefined);
    // The log is another one since, signed by the same key: whoever holds that checkpoint can show it.
    const database = new DatabaseSync(join(world.stateDir, 'assay.db'));
    database.exec('drop trigger audit_is_never_edited; drop trigger audit_is_never_shortened');
    database.exec('delete from audit; delete from checkpoints');
    database.close();
    const paging = 'assay_refusals_total{code="audit_rollback"}';
    const before = await world.metric(paging);
    const copy = await introduce(world, tpm, node, { hello: { checkpoint }, from: elsewhere });
    const challenge = await copy.challenge();
    assert.equal(await world.metric(paging), before);
    copy.send(tpm.evidence(challenge, { node, hello: copy.hello, channel: copy.channel }));
    await copy.verdict();
    await world.until(async () => (await world.metric(paging)) > before);
    await copy.close();
  });

  it('that are gone before their verdict leave no agent behind', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    for (let round = 0; round < 5; round++) {
      const before = world.verdicts.length;
      const peer = await introduce(world, tpm, node);
      const occasion = { node, hello: peer.hello, channel: peer.channel };
      peer.send(tpm.evidence(await peer.challenge(), occasion));
      await sleep(round);
      peer.socket.terminate();
      await sleep(50);
      assert(world.verdicts.length <= before + 1);
    }
    assert.equal(await world.metric('assay_agents{version="0.0.0"}'), 0);
  });

  it('fill the places of their own source alone: the node is proven, and its state is as before (row 108)', async () => {
    const places = 64;
    await using world = await startTestServer({
      policy: 'observe',
      // So few that the door lets in as many strangers at once.
      sources: { connections: places, connectionsPerSecond: places / 4 },
    });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    const known = await world.store.enrolment.node(node);
    const hit = () => world.metric('assay_door_refusals_total{port="agents",bound="places"}');
    const told = () => world.metric('assay_refusals_total{code="identity_unproven"}');
    const taken: Peer[] = [];
    while ((await hit()) < 10) {
      for (const each of await Promise.allSettled(
        Array.from({ length: 16 }, () => dial(world, { from: elsewhere })),
      ))
        if (each.status === 'fulfilled') taken.push(each.value);
      // Beyond its first connections the door lets in as many of a source each second.
      await sleep(250);
    }
    assert(taken.length > places, String(taken.length));
    assert(await world.until(async () => (await told()) === (await hit())));
    const entries = (await world.audit()).filter(({ actor }) => actor === `address:${elsewhere}`);
    assert.deepEqual(
      entries.map(({ action, code }) => [action, code]),
      [['refuse', 'identity_unproven']],
    );
    const honest = await honestAgent(world, tpm, node);
    await world.until(() => honest.states.length >= 1);
    assert.deepEqual(honest.states.slice(0, 1), ['trusted']);
    assert.equal((await world.status(node))?.state, 'trusted');
    assert.deepEqual(await world.store.enrolment.node(node), known);
    for (const { socket } of [honest.peer, ...taken]) socket.terminate();
  });
});

describe('an agent that goes silent', () => {
  it('is trusted no longer than its last answer is good for: the node is unknown (row 64)', async () => {
    await using world = await startTestServer({ policy: 'observe', challengeEvery: 0.5, unknownAfter: 1.5 });
    const tpm = forgedTpm();
    await enrolledNode(world, tpm, node);
    assert.equal(stateOf(await world.call('GET', `/v1/nodes/${node}`)), 'trusted');
    await world.until(async () => (await world.status(node))?.state === 'unknown', 6_000);
    assert.equal(stateOf(await world.call('GET', `/v1/nodes/${node}`)), 'unknown');
    const told = await world.until(async () =>
      (await world.audit()).find(({ action, code }) => action === 'verdict' && code === 'evidence_overdue'),
    );
    assert.deepEqual([told.subject, told.detail.state], [node, 'unknown']);
    await world.until(async () => (await world.metric('assay_nodes{state="unknown"}')) === 1);
  });
});

describe('an agent that is killed right after its node became untrusted', () => {
  const log = recordedLog('debian13-shim-grub');

  it('has won nothing: the node stays untrusted past its deadline and over a restart (row 114)', async () => {
    await using world = await startTestServer({ challengeEvery: 0.05, answerWithin: 0.5, unknownAfter: 0.6 });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    assert.equal(await bootOf(peer, tpm, log), 'pending');
    await world.call('POST', '/v1/references', { node, name: 'good' });
    assert.equal(await bootOf(peer, tpm, log), 'trusted');
    assert.equal(await bootOf(peer, tpm, tamper(log, 'kernel')), 'untrusted');
    peer.socket.terminate();
    const judged = await world.status(node);
    await sleep(1_300);
    assert.deepEqual(stateOf(await world.call('GET', `/v1/nodes/${node}`)), 'untrusted');
    await world.restart();
    await sleep(1_300);
    assert.deepEqual(stateOf(await world.call('GET', `/v1/nodes/${node}`)), 'untrusted');
    assert.equal((await world.status(node))?.state, 'untrusted');
    assert.equal((await world.status(node))?.verdict?.reasons[0]?.code, judged?.verdict?.reasons[0]?.code);
    assert.equal(await world.metric('assay_nodes{state="untrusted"}'), 1);
    const last = (await world.audit()).findLast(({ action }) => action === 'verdict');
    assert.equal(last?.detail.state, 'untrusted');
  });
});

describe('a boot log that holds what a terminal or a page would obey', () => {
  it('is told escaped in reasons, metrics and audit log, and the node is not trusted (row 72)', async () => {
    await using world = await startTestServer({ challengeEvery: 0.05, answerWithin: 0.5 });
    const log = recordedLog('debian13-shim-grub');
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    await bootOf(peer, tpm, log);
    await world.call('POST', '/v1/references', { node, name: 'good' });
    const data = Buffer.from('grub_cmd: \u001b[2Jlinux <script>\u202e"\n');
    const banks = ['sha1', 'sha256'].filter((bank) => bank in parseEventLog(log).banks);
    const evil = Buffer.concat([log, event(8, 13, data, banks.filter(isPcrBank))]);
    assert.equal(await bootOf(peer, tpm, evil), 'untrusted');
    await peer.close();
    const view = JSON.stringify(await world.call('GET', `/v1/nodes/${node}`));
    assert.match(view, /x1b\[2J/);
    const metrics = await fetch(`http://127.0.0.1:${world.server.metricsPort}/metrics`);
    for (const text of [view, JSON.stringify(await world.audit()), await metrics.text()])
      assert.doesNotMatch(text.replaceAll('\n', ''), obeyed);
  });
});

describe('nonces', () => {
  it('are 32 bytes, and no two of hundreds are the same, over connections and restarts (row 81)', async () => {
    await using world: TestServer = await startTestServer({
      policy: 'observe',
      challengeEvery: 0.005,
      answerWithin: 0.005,
      unknownAfter: 900,
    });
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const nonces: string[] = [];
    for (let start = 0; start < 3; start++) {
      if (start > 0) await world.restart();
      // Few for each, since one that answers nothing is refused after a second.
      for (let connection = 0; connection < 4; connection++) {
        const peer = await introduce(world, tpm, node);
        for (let drawn = 0; drawn < 20; drawn++) nonces.push((await peer.challenge()).nonce);
        await peer.close();
      }
    }
    const bytes = nonces.map((nonce) => Buffer.from(nonce, 'base64'));
    assert(bytes.every(({ length }) => length === 32));
    assert.equal(new Set(nonces).size, 240);
    // No byte stands still, as it would with a counter or a clock in it.
    for (let at = 0; at < 32; at++) assert(new Set(bytes.map((nonce) => nonce[at])).size > 64);
  });
});

/** The error that ends a connection whose challenges nobody answers. */
async function unanswered(peer: Peer): Promise<unknown> {
  for (;;) {
    const message = await peer.receive();
    if (message?.type !== 'challenge') return message?.code;
  }
}

/** Answers the next challenge with this boot; gives the state that the server says. */
async function bootOf(peer: Peer & { hello: string }, tpm: ForgedTpm, bootLog: Buffer): Promise<string> {
  const challenge = await peer.challenge();
  const values = parseEventLog(bootLog).banks.sha256 ?? {};
  const hex = Array.from({ length: 24 }, (_, pcr) => values[pcr] ?? '00'.repeat(32));
  const pcrs = { sha256: Buffer.from(hex.join(''), 'hex') };
  if (!challenge.holds.includes(hash('sha256', bootLog, 'hex'))) peer.send(binaryFrame('part', bootLog));
  const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog };
  peer.send(tpm.evidence(challenge, occasion, { quote: (data) => madeQuote(tpm.ak, data, { pcrs }) }));
  return (await peer.verdict()).state;
}

const isPcrBank = (name: string): name is PcrBank => pcrBanks.some((bank) => bank === name);

function stateOf(view: unknown): unknown {
  return typeof view === 'object' && view !== null && 'state' in view ? view.state : null;
}
