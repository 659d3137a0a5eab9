import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type NodeView, nodeView } from '../../../attest-server/api/node-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { assertRefused, enrolledNode, introduce } from '../attacker.ts';
import { forgedMake, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeEkCertificate, signer } from '../verify/made-certificate.ts';

const policy = join(tmpdir(), `assay-known-${process.pid}.yaml`);

describe('what a server knows of nodes and of who claims their names', () => {
  let world: TestServer;
  before(async () => {
    await writeFile(
      policy,
      'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n' +
        '  - {name: lab, nodes: ["lab-*"], enrolment: [first-use]}\n' +
        '  - {name: other, nodes: ["*"], enrolment: [pin, approval, join-token]}\n',
    );
    world = await startTestServer({ policy, unknownAfter: 2, challengeEvery: 1, answerWithin: 1 });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(policy, { force: true });
  });

  const known = async (node: string): Promise<NodeView> =>
    nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
  const isSilent = (node: string) =>
    world.until(async () => (await world.status(node))?.state === 'unknown', 15_000);
  const codes = ({ reasons }: NodeView) => reasons.map(({ code }) => code);

  it('shows the connection of a node, and once it is gone from where it last came', async () => {
    const tpm = forgedTpm();
    await world.pin('node-1', tpm.ekDigest);
    const began = Date.now();
    const peer = await introduce(world, tpm, 'node-1', { from: '127.0.9.1' });
    const occasion = { node: 'node-1', hello: peer.hello, channel: peer.channel };
    peer.send(tpm.evidence(await peer.challenge(), occasion));
    await peer.verdict();
    const connected = await known('node-1');
    assert.match(connected.address ?? '', /127\.0\.9\.1$/);
    assert.ok(Date.parse(connected.connectedAt ?? '') >= began);
    assert.deepEqual(
      [connected.agent, connected.ek, connected.enrolledBy, connected.bound],
      [tpm.hello('node-1').versions.program, tpm.ekDigest, 'token:admin', 'pin'],
    );
    assert.equal(connected.transitions[0]?.at, connected.since);
    await peer.close();
    const gone = await world.until(async () => {
      const view = await known('node-1');
      return view.connectedAt === null ? view : null;
    });
    assert.deepEqual([gone.address, gone.agent], [connected.address, connected.agent]);
    const { since } = gone;
    await world.restart();
    const later = await known('node-1');
    assert.deepEqual([later.address, later.agent, later.connectedAt], [gone.address, gone.agent, null]);
    if (later.state === gone.state) assert.equal(later.since, since);
  });

  it('names nobody but the node itself where it was bound by first use, and later who approved it', async () => {
    const tpm = forgedTpm();
    const peer = await introduce(world, tpm, 'lab-1');
    await peer.challenge();
    await peer.close();
    assert.equal((await known('lab-1')).enrolledBy, 'node');
    await world.call('POST', '/v1/enrolments/approve-all');
    const view = await known('lab-1');
    assert.deepEqual([view.bound, view.enrolledBy], ['approval', 'token:admin']);
  });

  it('tells of another TPM under the name of a silent node before the silence, also after a start (row 86)', async () => {
    const [old, fresh] = [forgedTpm(), forgedTpm()];
    await enrolledNode(world, old, 'node-2');
    await isSilent('node-2');
    assert.equal((await known('node-2')).reason, 'evidence_overdue');
    const greet = () => introduce(world, fresh, 'node-2', { from: '127.0.9.2' });
    await assertRefused(world, 'node-2', 'enrolment_pending', greet);
    const view = await known('node-2');
    assert.deepEqual(codes(view), ['ek_already_bound', 'evidence_overdue']);
    assert.ok(view.reasons[0]?.next?.includes(`  assay enrol approve node-2 --ek ${fresh.ekDigest}`));
    assert.deepEqual(
      view.claims.map(({ ek, code, attempts }) => [ek, code, attempts]),
      [[fresh.ekDigest, 'enrolment_pending', 1]],
    );
    await world.restart();
    assert.deepEqual(codes(await known('node-2')), ['ek_already_bound', 'evidence_overdue']);
    // As the advice has it.
    await world.call('POST', '/v1/enrolments/node-2/revoke', { reason: 'the board was exchanged' });
    const waiting = await known('node-2');
    assert.deepEqual([waiting.state, waiting.reason], ['pending', 'enrolment_pending']);
    await world.call('POST', '/v1/enrolments/node-2/approve', { ek: fresh.ekDigest });
    const peer = await introduce(world, fresh, 'node-2');
    await peer.challenge();
    await peer.close();
    const enrolled = await known('node-2');
    assert.deepEqual(
      [enrolled.ek, enrolled.enrolledBy, enrolled.claims],
      [fresh.ekDigest, 'token:admin', []],
    );
  });

  it('says under a name that nobody enrolled why its TPM was refused, and lists it among no nodes', async () => {
    const tpm = forgedTpm();
    const ofNobody = madeEkCertificate(signer('Nobody'), tpm.ek.publicKey, forgedMake);
    const certificate = ofNobody.toString('base64');
    const withToken = async (token: string) => {
      const [, , id, secret] = token.split('.');
      return introduce(world, tpm, 'node-3', {
        joinToken: binaryFrame('joinToken', Buffer.from(`${id}.${secret}`)),
        hello: { ek: { ...tpm.hello('node-3').ek, certificate, chain: [] } },
        from: '127.0.9.3',
      });
    };
    const token = await world.joinToken('node-3', 4);
    await assertRefused(world, 'node-3', 'ek_untrusted_root', () => withToken(token));
    const view = await known('node-3');
    assert.deepEqual([view.state, codes(view)], ['pending', ['enrolment_pending', 'ek_untrusted_root']]);
    const expired = async () => {
      // Whoever comes back as fast as he can is turned away by the door, now and then.
      const peer = await withToken(token).catch(() => null);
      if (peer === null) return false;
      await peer.refusal();
      const found = (await known('node-3')).claims.find(({ code }) => code === 'enrolment_pending');
      return found?.text?.includes('expired at');
    };
    await world.until(expired, 10_000);
    const { items } = (await world.call('GET', '/v1/nodes')) as { items: { name: string }[] };
    assert.ok(items.every(({ name }) => name !== 'node-3'));
    const admin = (await readFile(join(world.stateDir, 'admin.token'), 'utf8')).trim();
    assert.equal((await world.ask('GET', '/v1/nodes/node-3/history', admin)).status, 404);
    assert.equal((await world.ask('GET', '/v1/nodes/node-4', admin)).status, 404);
  });

  it('keeps a trusted node as it looks, whoever claims its name (row 126)', async () => {
    await using calm = await startTestServer({ policy });
    await enrolledNode(calm, forgedTpm(), 'node-5');
    const shown = async () => nodeView.parse(await calm.call('GET', '/v1/nodes/node-5'));
    const before = await shown();
    assert.equal(before.state, 'trusted');
    for (let each = 0; each < 40; each += 1) {
      const peer = await introduce(calm, forgedTpm(), 'node-5', { from: `127.0.10.${each}` });
      assert.equal(await peer.refusal(), 'enrolment_pending');
    }
    const view = await shown();
    assert.deepEqual([view.state, view.reason, view.claims.length], ['trusted', before.reason, 16]);
    assert.ok(view.reasons.slice(before.reasons.length).every(({ severity }) => severity === 'info'));
  });
});
