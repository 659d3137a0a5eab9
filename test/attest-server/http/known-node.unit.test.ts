import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'mocha';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import type { KnownClaim } from '../../../attest-server/enrolment/claims.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
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

const own = 'ab'.repeat(32);
const other = 'cd'.repeat(32);

function claimOf(
  node: string,
  ekDigest: string | null,
  code: ReasonCode,
  change: Partial<KnownClaim> = {},
): KnownClaim {
  return {
    node,
    ekDigest,
    code,
    text: `refused as ${code}`,
    attempts: 14,
    firstSeen: now - 60_000,
    lastSeen: now - 1_000,
    address: '10.0.0.5',
    ...change,
  };
}

/** Silent for longer than its verdict counts. */
const silent = { verifiedAt: now - 600_000, expiresAt: now - 420_000 };

describe('what the server knows of a node', () => {
  let world: World;
  let server: ApiServer;
  before(async () => {
    world = emptyWorld();
    server = await startApi(world);
  });
  after(() => server.close());
  beforeEach(() => {
    world.claims.length = 0;
    world.history.length = 0;
    world.references.length = 0;
    for (const map of [world.nodes, world.connected, world.lastSeen, world.waits]) map.clear();
  });

  const put = (name: string, change: Parameters<typeof statusOf>[2] = {}, verdict = verdictOf()) =>
    world.nodes.set(name, { enrolled: enrolled(name), status: statusOf(name, verdict, change) });
  const one = async (name: string) => {
    const { status, text } = await ask(server, `/v1/nodes/${name}`);
    assert.equal(status, 200, text);
    return nodeView.parse(JSON.parse(text));
  };
  const listed = async () => listOf(nodeView).parse(JSON.parse((await ask(server, '/v1/nodes')).text)).items;
  const codes = (view: { readonly reasons: readonly { readonly code: string }[] }) =>
    view.reasons.map(({ code }) => code);

  it('is that its share of judging is spent, with what to do, beside a state that stays what it was', async () => {
    put('node-1');
    const before = await one('node-1');
    world.waits.set('node-1', 12_001);
    const { state, reasons } = await one('node-1');
    assert.deepEqual([state, reasons.slice(0, -1)], [before.state, before.reasons]);
    const last = reasons.at(-1);
    assert.deepEqual([last?.code, last?.severity], ['too_large', 'info']);
    assert.match(last?.text ?? '', /^node-1 answers too often.* asked again in 13 s\.$/);
    assert.match(last?.next ?? '', /journalctl -u assay-agent/);
    // A list names what is wrong with nodes, and this is nothing that a node proved.
    assert.deepEqual(codes((await listed())[0]!), codes(before));
  });

  it('is since when it is so, how it was enrolled and by whom, its key, and where it last came from', async () => {
    put('node-1');
    world.lastSeen.set('node-1', { address: '10.0.0.1', agent: '0.1.0' });
    const view = await one('node-1');
    assert.deepEqual(
      [view.since, view.enrolledAt, view.enrolledBy, view.ek, view.address, view.agent, view.connectedAt],
      ['2026-11-20T11:00:00.000Z', '2026-11-20T12:00:00.000Z', 'token:admin', own, '10.0.0.1', '0.1.0', null],
    );
    world.connected.set('node-1', { address: '10.0.0.2', agent: '0.2.0', since: now - 30_000, heardAt: now });
    const connected = await one('node-1');
    assert.deepEqual(
      [connected.address, connected.agent, connected.connectedAt],
      ['10.0.0.2', '0.2.0', '2026-11-20T11:59:30.000Z'],
    );
  });

  it('is how many fail the same way, before what to do about it alone, if that is no change of ours', async () => {
    const kernel = {
      set: 'a'.repeat(16),
      things: [{ what: 'kernel', name: '/vmlinuz', digest: null, more: 0 }],
      own: false,
      lacks: null,
      since: now,
      codes: ['kernel_unknown'],
      rules: [],
      knownBy: null,
      signed: false,
      held: [],
    };
    const reasons = [reasonOf('lockdown_off', { severity: 'warn' }), reasonOf('kernel_unknown')];
    const failing = verdictOf({ state: 'untrusted', reasons });
    const begins = async (name: string) =>
      (await one(name)).reasons.map(({ next }) => /^\d+ nodes fail the same way/.test(next ?? ''));
    for (const name of ['node-1', 'node-2']) put(name, { memory: { unknown: { boot: kernel } } }, failing);
    assert.deepEqual(await begins('node-1'), [false, false]);
    put('node-3', { memory: { unknown: { boot: kernel } } }, failing);
    put('node-4', { memory: { unknown: { boot: { ...kernel, set: 'b'.repeat(16) } } } }, failing);
    assert.deepEqual(await begins('node-1'), [false, true]);
    assert.deepEqual(await begins('node-4'), [false, false]);
    const [, reason] = (await one('node-1')).reasons;
    assert.match(
      reason?.next ?? '',
      /^3 nodes .* for all of them:\n {2}assay reference candidates --group workers\n.*\n {2}assay boot diff node-1\n/,
    );
  });

  it('is which references its boot is like, and whose they are; old evidence is like none', async () => {
    world.references.push(referenceOf('workers-1'));
    const aspects = verdictOf({
      aspects: { boot: { status: 'affirming', source: 'tpm', references: ['workers-1', 'gone'] } },
    });
    put('node-1', {}, aspects);
    put('node-2', silent, aspects);
    assert.deepEqual((await one('node-1')).references, [
      { name: 'workers-1', by: 'token:operator', since: '2026-11-20T12:00:00.000Z' },
    ]);
    const old = await one('node-2');
    assert.deepEqual([old.state, old.references, old.since], ['unknown', [], '2026-11-20T11:53:00.000Z']);
  });

  it('is its latest five changes of state, in the answer about it alone', async () => {
    put('node-1');
    for (let each = 0; each < 8; each += 1)
      world.history.push({
        node: 'node-1',
        at: now - each * 1_000,
        verdict: verdictOf(each % 2 === 0 ? {} : { state: 'pending', reasons: [reasonOf('rebooted')] }),
        evidenceDigest: null,
        transition: each !== 1,
        repeats: 0,
        since: now,
      });
    const { transitions } = await one('node-1');
    assert.equal(transitions.length, 5);
    assert.deepEqual(transitions.slice(0, 3), [
      { at: '2026-11-20T12:00:00.000Z', state: 'trusted', reason: null },
      { at: '2026-11-20T11:59:58.000Z', state: 'trusted', reason: null },
      { at: '2026-11-20T11:59:57.000Z', state: 'pending', reason: 'rebooted' },
    ]);
    assert.deepEqual((await listed())[0]?.transitions, []);
  });

  it('says of a silent node first that another TPM claims its name, and the commands that exchange it', async () => {
    put('node-1', silent);
    world.claims.push(claimOf('node-1', other, 'enrolment_pending'));
    const view = await one('node-1');
    assert.deepEqual(codes(view), ['ek_already_bound', 'evidence_overdue']);
    assert.deepEqual(
      [view.state, view.reason, view.reasons[0]?.severity],
      ['unknown', 'ek_already_bound', 'info'],
    );
    const lines = view.reasons[0]?.next?.split('\n') ?? [];
    assert.deepEqual(
      lines.filter((line) => line.startsWith('  ')),
      [
        '  assay enrol list',
        "  assay enrol revoke node-1 --reason 'the board was exchanged'",
        `  assay enrol approve node-1 --ek ${other}`,
      ],
    );
    assert.deepEqual(view.claims[0]?.code, 'enrolment_pending');
    assert.equal((await listed())[0]?.reason, 'ek_already_bound');
  });

  it('keeps moments in the text, so that what is shown later stays true', async () => {
    put('node-1', silent);
    world.claims.push(claimOf('node-1', other, 'enrolment_pending'));
    const [reason] = (await one('node-1')).reasons;
    for (const part of ['14 times', '2026-11-20T11:59:00Z', '2026-11-20T11:59:59Z', '10.0.0.5'])
      assert.ok(reason?.text.includes(part), part);
  });

  it('shows each TPM that waits, so that nobody who came later hides the true one', async () => {
    put('node-1', silent);
    world.claims.push(
      claimOf('node-1', other, 'enrolment_pending'),
      claimOf('node-1', 'ef'.repeat(32), 'ek_untrusted_root'),
    );
    const [reason] = (await one('node-1')).reasons;
    assert.equal(reason?.code, 'ek_already_bound');
    for (const ek of [other, 'ef'.repeat(32)]) assert.ok(reason?.next?.includes(`--ek ${ek}`));
  });

  it('lets no stranger change how a trusted node looks (row 126)', async () => {
    put('node-1');
    world.claims.push(
      claimOf('node-1', other, 'enrolment_pending'),
      claimOf('node-1', own, 'identity_unproven'),
      claimOf('node-1', null, 'unsupported_tpm'),
    );
    const view = await one('node-1');
    assert.equal(view.state, 'trusted');
    assert.ok(view.reasons.every(({ severity }) => severity === 'info'));
    assert.deepEqual(codes(view), ['ek_already_bound', 'unsupported_tpm']);
    const [inList] = await listed();
    assert.deepEqual([inList?.state, inList?.reason, inList?.reasons.length], ['trusted', null, 0]);
    assert.equal(inList?.claims.length, 3);
  });

  it('advises nothing against a node because of what a stranger sent in its name (row 126)', async () => {
    put('node-1');
    put('node-2', silent);
    for (const name of ['node-1', 'node-2'])
      for (const code of ['ek_already_bound', 'ak_attributes', 'weak_key', 'malformed'] as const)
        world.claims.push(claimOf(name, other, code));
    for (const name of ['node-1', 'node-2']) {
      const about = (await one(name)).reasons.filter(({ code }) => code !== 'evidence_overdue');
      assert.equal(about.length, 4);
      for (const { code, next = '' } of about) {
        assert.ok(next.includes('10.0.0.5'), `${code}: ${next}`);
        assert.doesNotMatch(next, /out of service|enrol revoke|endorsement key/, code);
      }
    }
  });

  it('gives no command that revokes a node which is connected and proves itself (row 126)', async () => {
    put('node-1');
    world.claims.push(claimOf('node-1', other, 'enrolment_pending'));
    world.connected.set('node-1', { address: '10.0.0.2', agent: '0.2.0', since: now - 90_000, heardAt: now });
    const commands = async () => (await one('node-1')).reasons[0]?.next?.match(/^ {2}.*/gm) ?? [];
    assert.deepEqual(await commands(), []);
    world.connected.clear();
    assert.equal((await commands()).length, 3);
  });

  it('puts behind what is known what is older than the last proof, or has another cause', async () => {
    put('node-1', silent);
    put('node-2', {}, verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] }));
    world.claims.push(
      claimOf('node-1', other, 'enrolment_pending', { lastSeen: now - 900_000 }),
      claimOf('node-2', other, 'enrolment_pending'),
    );
    assert.deepEqual(codes(await one('node-1')), ['evidence_overdue', 'ek_already_bound']);
    assert.deepEqual(codes(await one('node-2')), ['kernel_unknown', 'ek_already_bound']);
    put('node-4', silent);
    world.claims.push(claimOf('node-4', other, 'malformed'));
    assert.deepEqual(codes(await one('node-4')), ['evidence_overdue', 'malformed']);
    put('node-3');
    world.claims.push(claimOf('node-3', other, 'enrolment_pending', { lastSeen: now - 48 * 3600_000 }));
    assert.deepEqual(codes(await one('node-3')), []);
  });

  it('says why the own answers of a silent node are refused', async () => {
    put('node-1', silent);
    world.lastSeen.set('node-1', { address: '10.0.0.9', agent: '0.2.0' });
    // Whoever knows its public keys shows them too, from elsewhere.
    for (const code of ['malformed', 'identity_unproven', 'too_large', 'nonce_invalid', 'weak_bank'] as const)
      world.claims.push(claimOf('node-1', own, code));
    world.claims.push(claimOf('node-1', own, 'ak_mismatch', { address: '10.0.0.9' }));
    const view = await one('node-1');
    assert.deepEqual(codes(view).slice(0, 2), ['ak_mismatch', 'malformed']);
    assert.equal(codes(view).indexOf('evidence_overdue'), 6);
    assert.ok(view.reasons[0]?.next?.includes(`  assay enrol approve node-1 --ek ${own}`));
  });

  it('hides no cause behind what others send with its public keys, wherever it comes from now (row 126)', async () => {
    put('node-1', silent);
    world.lastSeen.set('node-1', { address: '10.0.0.9', agent: '0.2.0' });
    for (const code of ['malformed', 'identity_unproven', 'too_large', 'nonce_invalid'] as const)
      world.claims.push(claimOf('node-1', own, code));
    world.claims.push(claimOf('node-1', own, 'weak_bank', { address: '10.9.9.9' }));
    const view = await one('node-1');
    const told = view.reasons.find(({ code }) => code === 'weak_bank');
    assert.ok(told, codes(view).join());
    for (const part of ['10.9.9.9', '10.0.0.9']) assert.ok(told.text.includes(part), told.text);
  });

  it('names the machine that says it is another', async () => {
    put('node-1', silent);
    world.claims.push(claimOf('node-1', other, 'identity_claim_mismatch'));
    const view = await one('node-1');
    assert.deepEqual(codes(view), ['identity_claim_mismatch', 'evidence_overdue']);
    assert.ok(!view.reasons[0]?.next?.includes('approve'));
  });

  it('is pending under a name that nobody enrolled, with the command for the TPM that waits', async () => {
    world.claims.push(claimOf('node-9', other, 'ek_untrusted_root'));
    const view = await one('node-9');
    assert.deepEqual(
      [view.state, view.reason, codes(view), view.bound, view.claims.length],
      ['pending', 'enrolment_pending', ['enrolment_pending', 'ek_untrusted_root'], null, 1],
    );
    assert.ok(view.reasons[0]?.next?.split('\n').includes(`  assay enrol approve node-9 --ek ${other}`));
    assert.deepEqual(await listed(), []);
  });

  it('gives no command that the policy would refuse', async () => {
    put('pinned-1', silent);
    for (const name of ['pinned-1', 'pinned-2']) {
      world.claims.push(claimOf(name, other, 'enrolment_pending'));
      const next = (await one(name)).reasons[0]?.next ?? '';
      assert.ok(!next.includes('enrol approve') && !next.includes('join-token create'), next);
      assert.ok(next.includes(`  echo ${name},${other} | assay ek import -`), next);
    }
  });

  it('offers no approval of what cannot be approved', async () => {
    world.claims.push(claimOf('node-9', other, 'weak_key'));
    const view = await one('node-9');
    assert.deepEqual(codes(view), ['enrolment_pending', 'weak_key']);
    assert.ok(view.reasons.every(({ next }) => !next?.includes('enrol approve')));
  });

  it('has no TPM, and nothing before that, under a name that nobody enrolled and whose agent says so', async () => {
    world.claims.push(claimOf('gpu-1', null, 'malformed'), claimOf('gpu-1', null, 'unsupported_tpm'));
    const view = await one('gpu-1');
    assert.deepEqual([view.reason, codes(view)], ['unsupported_tpm', ['unsupported_tpm', 'malformed']]);
    // A TPM that waits may be its own all the same.
    world.claims.push(claimOf('gpu-1', other, 'enrolment_pending'));
    assert.equal((await one('gpu-1')).reason, 'enrolment_pending');
  });

  it('is nothing under a name that nobody claims', async () => {
    world.claims.push(claimOf('node-9', other, 'weak_key'));
    for (const name of ['node-8', 'Node_8', '..'])
      assert.equal((await ask(server, `/v1/nodes/${name}`)).status, 404);
    assert.equal((await ask(server, '/v1/nodes/node-9/history')).status, 404);
    assert.equal((await ask(server, '/v1/nodes/node-9', { token: null })).status, 401);
  });
});
