import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { candidateView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { assertRefused, dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

let count = 0;
/** The audit log holds one refusal of a kind and node in ten seconds: each attack has a node of its own. */
const newName = () => `node-${++count}`;

let world: TestServer;
const boundAlready = 'assay_refusals_total{code="ek_already_bound"}';

/** A hello for this node, then nothing. */
const greet = (hello: object) => async () => {
  const peer = await dial(world);
  peer.send(hello);
  return peer;
};

async function victim(): Promise<{ node: string; tpm: ForgedTpm }> {
  const [node, tpm] = [newName(), forgedTpm()];
  await enrolledNode(world, tpm, node);
  return { node, tpm };
}

async function prove(tpm: ForgedTpm, node: string, change = {}) {
  const peer = await introduce(world, tpm, node, change);
  peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
  assert.equal((await peer.verdict()).state, 'trusted');
  return peer;
}

async function waiting(node: string) {
  const { items } = listOf(candidateView).parse(await world.call('GET', '/v1/enrolments'));
  return items.filter((each) => each.node === node);
}

const approve = (node: string, ek: string) => world.call('POST', `/v1/enrolments/${node}/approve`, { ek });
const revoke = (node: string) => world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'sold' });
const listed = async () =>
  listOf(nodeView)
    .parse(await world.call('GET', '/v1/nodes'))
    .items.map(({ name }) => name);
const auditOf = async (action: string, subject: string) =>
  (await world.audit()).filter((entry) => entry.action === action && entry.subject === subject);

async function metricsText(): Promise<string> {
  return (await fetch(`http://127.0.0.1:${world.server.metricsPort}/metrics`)).text();
}

/** What an agent shows of a token file: its identifier and secret. */
function frameOf(token: string): Buffer {
  const [, , id, secret] = token.split('.');
  return binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
}

/** A refusal over the API: its code, both nodes alerted in audit log and metrics, and nothing bound. */
async function assertDoublyBound(attempt: () => Promise<unknown>, names: readonly string[]): Promise<void> {
  const [before, bound] = [await world.metric(boundAlready), await world.store.enrolment.nodes()];
  await assert.rejects(attempt(), /ek_already_bound/);
  for (const name of names)
    await world.until(async () =>
      (await auditOf('refuse', name)).find(({ code }) => code === 'ek_already_bound'),
    );
  assert.equal(await world.metric(boundAlready), before + names.length);
  assert.deepEqual(await world.store.enrolment.nodes(), bound);
}

describe('who is who, over a real connection', () => {
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  it('lets a TPM wait until a person approves it, and then enrols it with activation', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await assertRefused(world, node, 'enrolment_pending', greet(tpm.hello(node)));
    const [candidate] = await waiting(node);
    assert.deepEqual(
      [candidate?.ek, candidate?.attempts, candidate?.approved, candidate?.nameEnrolled],
      [tpm.ekDigest, 1, false, false],
    );
    assert(!(await listed()).includes(node));
    await approve(node, tpm.ekDigest);
    assert.equal((await waiting(node))[0]?.approved, true);
    // The approval is for this TPM: one that only shows its public key is not let in.
    await assertRefused(world, node, 'identity_unproven', async () => {
      const peer = await dial(world);
      peer.send(tpm.hello(node));
      assert.equal((await peer.receive())?.type, 'activate');
      peer.send({ type: 'activated', proof: '00'.repeat(32) });
      return peer;
    });
    await (await prove(tpm, node)).close();
    assert.equal((await world.store.enrolment.node(node))?.bound, 'approval');
    assert.deepEqual(await waiting(node), []);
    assert.equal(await world.store.enrolment.approvalFor(node), null);
    const [entry] = await auditOf('enrol.approve', node);
    assert.deepEqual([entry?.actor, entry?.detail.ek], ['token:admin', tpm.ekDigest]);
  });

  it('approves a whole digest before its TPM came, and no beginning of one (row 126)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await (await greet(tpm.hello(node))()).refusal();
    for (const digits of [8, 16, 63])
      await assert.rejects(approve(node, tpm.ekDigest.slice(0, digits)), /400/);
    assert.equal(await world.store.enrolment.approvalFor(node), null);
    await approve(node, tpm.ekDigest);
    assert.equal(await (await greet(forgedTpm().hello(node))()).refusal(), 'enrolment_pending');
    await (await prove(tpm, node)).close();
  });

  it('still knows who waits and who is approved after a restart', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await (await greet(tpm.hello(node))()).refusal();
    await approve(node, tpm.ekDigest);
    await world.restart();
    assert.deepEqual(
      (await waiting(node)).map(({ ek, approved }) => [ek, approved]),
      [[tpm.ekDigest, true]],
    );
    await (await prove(tpm, node)).close();
  });

  it('does not bind a key that another node has, by pin, token or approval, and alerts both (row 8)', async () => {
    for (const by of ['pin', 'approval'] as const) {
      const { node, tpm } = await victim();
      const other = newName();
      const attempt = () => (by === 'pin' ? world.pin(other, tpm.ekDigest) : approve(other, tpm.ekDigest));
      await assertDoublyBound(attempt, [node, other]);
      await (await prove(tpm, node)).close();
      assert.equal((await world.status(node))?.state, 'trusted');
    }
    const [{ node, tpm }, other] = [await victim(), newName()];
    const joinToken = frameOf(await world.joinToken(other));
    const refusals = await world.metric(boundAlready);
    const peer = await introduce(world, tpm, other, { joinToken });
    assert.equal(await peer.refusal(), 'ek_already_bound');
    // Once for the connection, once for the node that has the key.
    assert.equal(await world.metric(boundAlready), refusals + 2);
    for (const name of [node, other])
      await world.until(async () =>
        (await auditOf('refuse', name)).find(({ code }) => code === 'ek_already_bound'),
      );
    assert.equal(await world.store.enrolment.node(other), null);
    await (await prove(tpm, node)).close();
    assert.equal((await world.status(node))?.state, 'trusted');
  });

  it('approves no key for a name that another key has, until that is revoked', async () => {
    const [{ node }, tpm] = [await victim(), forgedTpm()];
    await assert.rejects(approve(node, tpm.ekDigest), /ek_already_bound/);
    await revoke(node);
    await approve(node, tpm.ekDigest);
    await (await prove(tpm, node)).close();
  });

  it('refuses a TPM that has fewer strong banks than at its enrolment (row 21)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await world.pin(node, tpm.ekDigest);
    const both = { ...tpm.hello(node), banks: ['sha1', 'sha256', 'sha384'] };
    const peer = await introduce(world, tpm, node, { hello: both });
    const { selection } = await peer.challenge();
    assert.deepEqual(
      [selection.sha256?.length, selection.sha384?.length, selection.sha1],
      [24, 24, undefined],
    );
    await peer.close();
    assert.deepEqual((await world.store.enrolment.node(node))?.banks, both.banks);
    await assertRefused(world, node, 'weak_bank', greet({ ...both, banks: ['sha256'] }));
    // Nor does an answer count that leaves one out.
    const again = await introduce(world, tpm, node, { hello: both });
    const occasion = { node, hello: again.hello, channel: again.channel };
    again.send(tpm.evidence(await again.challenge(), occasion));
    assert.equal(await again.refusal(), 'weak_bank');
    // SHA-1 proves nothing: who switches it off hides nothing.
    const without = await introduce(world, tpm, node, { hello: { banks: ['sha256', 'sha384'] } });
    assert.equal((await without.challenge()).selection.sha384?.length, 24);
    await without.close();
  });

  it('takes a TPM that was enrolled with SHA-1 alone once its firmware has a better bank', async () => {
    for (const banks of [['sha1'], []]) {
      const [node, tpm] = [newName(), forgedTpm()];
      await world.pin(node, tpm.ekDigest);
      const weak = await introduce(world, tpm, node, { hello: { banks } });
      assert.deepEqual(Object.keys((await weak.challenge()).selection), ['sha1']);
      await weak.close();
      await (await prove(tpm, node)).close();
      const fixed = () => world.store.enrolment.node(node);
      assert.deepEqual((await world.until(fixed)).banks, tpm.hello(node).banks);
    }
  });

  it('refuses an enrolled TPM that names itself as another, enrolled or not (rows 10, 96, 117)', async () => {
    const [{ tpm }, { node: other }] = [await victim(), await victim()];
    await assertRefused(world, other, 'identity_claim_mismatch', greet(tpm.hello(other)));
    const [pinned, own] = [newName(), forgedTpm()];
    await world.pin(pinned, own.ekDigest);
    await assertRefused(world, pinned, 'identity_claim_mismatch', greet(tpm.hello(pinned)));
    // Nor does it help to show the right endorsement key and to answer with another node's TPM.
    const mixed = (brought: ForgedTpm) => ({ ...own.hello(pinned), ak: brought.hello(pinned).ak });
    await assertRefused(world, pinned, 'ek_already_bound', greet(mixed(tpm)));
    const stranger = forgedTpm();
    await assertRefused(world, pinned, 'identity_unproven', async () => {
      const peer = await dial(world);
      const hello = JSON.stringify(mixed(stranger));
      peer.send(hello);
      peer.send(stranger.activated((await peer.receive()) ?? {}, peer.channel, hello));
      return peer;
    });
    assert.equal(await world.store.enrolment.node(pinned), null);
  });

  it('lets one of two connections enrol a TPM that both bring at once, and tells the other (row 79)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await world.pin(node, tpm.ekDigest);
    const refusals = await world.metric(boundAlready);
    const peers = await Promise.all([dial(world), dial(world)]);
    const hello = JSON.stringify(tpm.hello(node));
    for (const peer of peers) peer.send(hello);
    const asked = await Promise.all(peers.map((peer) => peer.receive()));
    for (const [index, peer] of peers.entries())
      peer.send(tpm.activated(asked[index] ?? {}, peer.channel, hello));
    const outcomes = await Promise.all(
      peers.map(async (peer) => {
        const message = await peer.receive();
        return message?.type === 'error' ? message.code : message?.type;
      }),
    );
    assert.deepEqual(outcomes.sort(), ['challenge', 'ek_already_bound']);
    assert.equal(await world.metric(boundAlready), refusals + 1);
    await world.until(async () =>
      (await auditOf('refuse', node)).find(({ code }) => code === 'ek_already_bound'),
    );
    assert.equal((await auditOf('enrol', node)).length, 1);
    await Promise.all(peers.map((peer) => peer.close()));
  });

  it('takes no word from an agent that says its enrolled machine has no TPM (row 85)', async () => {
    const { node, tpm } = await victim();
    const none = (name: string) => ({ ...tpm.hello(name), ek: null, ak: null, banks: [] });
    await assertRefused(world, node, 'identity_unproven', greet(none(node)));
    assert.equal((await world.status(node))?.state, 'trusted');
    const unknown = newName();
    await assertRefused(world, unknown, 'unsupported_tpm', greet(none(unknown)));
    // It is shown, so that its operator sees why, and is no node.
    assert((await listed()).includes(unknown));
    assert.equal(await world.store.enrolment.node(unknown), null);
    assert.doesNotMatch(await metricsText(), new RegExp(`node="${unknown}"`));
  });

  it('takes an exchanged attestation key only by a new approval, and keeps the old record (row 86)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await approve(node, tpm.ekDigest);
    const peer = await prove(tpm, node);
    const old = await world.store.enrolment.node(node);
    const exchanged = forgedTpm(undefined, tpm.ek);
    await assertRefused(world, node, 'ak_mismatch', greet(exchanged.hello(node)));
    assert(peer.socket.readyState === peer.socket.OPEN);
    assert.match(await metricsText(), new RegExp(`node="${node}"`));

    const closed = once(peer.socket, 'close');
    await revoke(node);
    await closed;
    assert.equal(await world.store.enrolment.node(node), null);
    assert.equal(await world.status(node), null);
    assert(!(await listed()).includes(node));
    assert.doesNotMatch(await metricsText(), new RegExp(`node="${node}"`));
    const [entry] = await auditOf('enrol.revoke', node);
    assert.deepEqual(
      [entry?.actor, entry?.detail.reason, entry?.detail.ek, entry?.detail.ak, entry?.detail.bound],
      ['token:admin', 'sold', tpm.ekDigest, old?.akName, 'approval'],
    );

    await assertRefused(world, node, 'enrolment_pending', greet(exchanged.hello(node)));
    assert.deepEqual(
      (await waiting(node)).map(({ ek }) => ek),
      [tpm.ekDigest],
    );
    await approve(node, tpm.ekDigest);
    await (await prove(exchanged, node)).close();
    assert.notEqual((await world.store.enrolment.node(node))?.akName, old?.akName);
    assert.equal((await auditOf('enrol.revoke', node)).length, 1);
  });

  it('takes an exchanged TPM only by a new approval (row 86)', async () => {
    const [node, tpm, other] = [newName(), forgedTpm(), forgedTpm()];
    await approve(node, tpm.ekDigest);
    await (await prove(tpm, node)).close();
    await assertRefused(world, node, 'enrolment_pending', greet(other.hello(node)));
    assert.equal((await waiting(node))[0]?.nameEnrolled, true);
    await revoke(node);
    await assertRefused(world, newName(), 'enrolment_pending', greet(other.hello(`node-${count}`)));
    await approve(node, other.ekDigest);
    await (await prove(other, node)).close();
    assert.deepEqual(
      (await auditOf('enrol', node)).map(({ detail }) => detail.ek),
      [tpm.ekDigest, other.ekDigest],
    );
  });

  it('lets no pin and no token from before a revocation bring its TPM back', async () => {
    const { node, tpm } = await victim();
    const joinToken = frameOf(await world.joinToken(node));
    await revoke(node);
    await assertRefused(world, node, 'enrolment_pending', greet(tpm.hello(node)));
    const peer = await introduce(world, tpm, node, { joinToken });
    assert.equal(await peer.refusal(), 'enrolment_pending');
    await world.pin(node, tpm.ekDigest);
    await (await prove(tpm, node)).close();
  });

  it('refuses what a revoked node still sends on an open connection', async () => {
    const { node, tpm } = await victim();
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    const closed = once(peer.socket, 'close');
    await Promise.all([
      revoke(node),
      peer.send(tpm.evidence(challenge, { node, hello: peer.hello, channel: peer.channel })),
    ]);
    await closed;
    assert.equal(await world.status(node), null);
    assert.equal(await world.metric('assay_attestations_total{result="fault",reason="none"}'), 0);
  });

  it('shows the true TPM, and whoever came first, among false ones of one address (rows 93, 126)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    const first = forgedTpm();
    const flood = async () => {
      for (let each = 0; each < 10; each += 1) {
        const peer = await dial(world, { from: '127.0.0.9' });
        peer.send(forgedTpm().hello(node));
        assert.equal(await peer.refusal(), 'enrolment_pending');
      }
    };
    const early = await dial(world, { from: '127.0.0.9' });
    early.send(first.hello(node));
    assert.equal(await early.refusal(), 'enrolment_pending');
    await flood();
    assert.equal(await (await greet(tpm.hello(node))()).refusal(), 'enrolment_pending');
    await flood();
    const shown = (await waiting(node)).map(({ ek }) => ek);
    assert.equal(shown.length, 5);
    for (const { ekDigest } of [first, tpm]) assert(shown.includes(ekDigest));
    await approve(node, tpm.ekDigest);
    await (await prove(tpm, node)).close();
    assert.equal((await world.store.enrolment.node(node))?.ekDigest, tpm.ekDigest);
    assert.equal((await waiting(node)).length, 4);
  });

  it('gives an enrolled name to no other TPM, not for a stolen token, nor for its key (row 95)', async () => {
    const [{ node, tpm }, thief] = [await victim(), forgedTpm()];
    const joinToken = frameOf(await world.joinToken(node));
    await assertRefused(world, node, 'enrolment_pending', () => introduce(world, thief, node, { joinToken }));
    assert.equal((await waiting(node))[0]?.nameEnrolled, true);
    await assertRefused(world, node, 'ak_mismatch', greet({ ...tpm.hello(node), ak: thief.hello(node).ak }));
    assert.equal(await world.store.enrolment.nodeByEk(thief.ekDigest), null);
  });

  it('answers a revocation of nobody, or one without a reason, with nothing done', async () => {
    await assert.rejects(revoke(newName()), /404/);
    const { node } = await victim();
    await assert.rejects(world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: '' }), /400/);
    await assert.rejects(world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'a\nb' }), /400/);
    assert.notEqual(await world.store.enrolment.node(node), null);
  });
});

describe('a group that takes whoever comes first', () => {
  const text =
    'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: lab, nodes: ["*"], enrolment: [pin, first-use';
  const policy = join(tmpdir(), `assay-first-use-${process.pid}.yaml`);
  before(async () => {
    await writeFile(policy, `${text}]}\n`);
    world = await startTestServer({ policy });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(policy, { force: true });
  });

  it('shows such a binding until a person approves it', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await (await prove(tpm, node)).close();
    const bound = async () => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`)).bound;
    assert.equal(await bound(), 'first-use');
    await assertRefused(world, node, 'enrolment_pending', greet(forgedTpm().hello(node)));
    // What was shown was another binding: nothing is approved that nobody saw.
    const approveShown = (ek: string) =>
      world.call('POST', '/v1/enrolments/approve-all', { bindings: [{ node, ek }] });
    assert.deepEqual(await approveShown(forgedTpm().ekDigest), { approved: [] });
    assert.equal(await bound(), 'first-use');
    assert.deepEqual(await approveShown(tpm.ekDigest), { approved: [node] });
    assert.equal(await bound(), 'approval');
    assert.equal((await auditOf('enrol.approve', node))[0]?.actor, 'token:admin');
    assert.deepEqual(await world.call('POST', '/v1/enrolments/approve-all'), { approved: [] });
    await assert.rejects(approve(newName(), tpm.ekDigest), /enrolment_pending/);
    assert.equal(await world.metric('assay_refusals_total{code="enrolment_pending"}'), 1);
  });

  it('makes an approval of one such binding by its digest', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await (await prove(tpm, node)).close();
    await world.call('POST', `/v1/enrolments/${node}/approve`, { ek: tpm.ekDigest }).catch(() => {});
    assert.equal((await world.store.enrolment.node(node))?.bound, 'first-use');
    await writeFile(policy, `${text}, approval]}\n`);
    await world.server.reload();
    await approve(node, tpm.ekDigest);
    assert.equal((await world.store.enrolment.node(node))?.bound, 'approval');
    assert.equal(await world.store.enrolment.approvalFor(node), null);
  });

  it('lets exactly one of two TPMs win that claim a name at once (row 79)', async () => {
    const node = newName();
    const tpms = [forgedTpm(), forgedTpm()];
    const before = {
      enrolment_pending: await world.metric('assay_refusals_total{code="enrolment_pending"}'),
      ek_already_bound: await world.metric(boundAlready),
    };
    const verdicts = world.verdicts.length;
    const outcomes = await Promise.all(
      tpms.map(async (tpm) => {
        const peer = await introduce(world, tpm, node);
        if ((await peer.peek())?.type === 'activate') await peer.receive();
        const message = await peer.receive();
        await peer.close();
        return message?.type === 'challenge' ? tpm.ekDigest : message?.code;
      }),
    );
    const record = await world.store.enrolment.node(node);
    const lost = outcomes.find((outcome) => outcome !== record?.ekDigest);
    assert(lost === 'enrolment_pending' || lost === 'ek_already_bound', String(outcomes));
    await world.until(async () => (await auditOf('refuse', node)).find(({ code }) => code === lost));
    assert.equal(await world.metric(`assay_refusals_total{code="${lost}"}`), before[lost] + 1);
    assert.equal((await auditOf('enrol', node)).length, 1);
    assert.equal(world.verdicts.length, verdicts);
  });
});
