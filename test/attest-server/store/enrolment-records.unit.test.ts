import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import type { ApiToken } from '../../../attest-server/http/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent, madeNode, madeRecord } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const one = madeNode('node-1');
const approved = { ...one, bound: 'approval' } as const;
const revocation = { name: 'node-1', ekDigest: one.ekDigest, at: 2_000, reason: 'sold' };
const token: ApiToken = {
  id: 'abcdefghijkl',
  name: 'alice',
  role: 'operator',
  secretHash: 'ab'.repeat(32),
  createdBy: 'token:admin',
  createdAt: 1,
  expiresAt: null,
};

describe('a store of who is who', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const enrol = (node = one) => store.enrolment.enrol(node, madeEvent('enrol', node.name));
  const revoke = () => store.enrolment.revoke(revocation, madeEvent('enrol.revoke', 'node-1'));
  const approve = (node = 'node-1', ekDigest = one.ekDigest) =>
    store.enrolment.addApproval(
      { node, ekDigest, by: 'token:admin', at: 1 },
      madeEvent('enrol.approve', node),
    );

  it('frees a revoked name, keeps the record apart, and its history', async () => {
    await enrol();
    await store.verdicts.recordChange(madeRecord(one, 1_000));
    await revoke();
    assert.deepEqual(
      [
        await store.enrolment.node('node-1'),
        await store.enrolment.nodeByEk(one.ekDigest),
        await store.verdicts.status('node-1'),
      ],
      [null, null, null],
    );
    assert.deepEqual([await store.enrolment.nodes(), await store.verdicts.statuses()], [[], []]);
    assert.equal(await store.enrolment.wasRevoked(one), true);
    assert.equal((await store.verdicts.history('node-1', { limit: 10 })).length, 1);
    await assert.rejects(revoke(), { code: 'enrolment_pending' });
    await assert.rejects(store.verdicts.recordChange(madeRecord(one, 3_000)), { code: 'enrolment_pending' });
    await enrol(madeNode('node-1', 'another'));
    assert.notEqual((await store.enrolment.node('node-1'))?.ekDigest, one.ekDigest);
  });

  it('takes a revoked key anew, under any free name, and none that is bound', async () => {
    await enrol();
    await revoke();
    await assert.rejects(enrol(one), { code: 'enrolment_pending' });
    const again = { ...one, name: 'node-2', enrolledAt: 2_001, akName: `000b${'ff'.repeat(32)}` };
    await enrol(again);
    assert.deepEqual(await store.enrolment.nodeByEk(one.ekDigest), again);
    assert.equal((await store.verdicts.status('node-2'))?.state, 'pending');
    assert.equal(await store.enrolment.wasRevoked(one), false);
    await assert.rejects(enrol(one), { code: 'ek_already_bound' });
    await enrol(madeNode('node-1', 'another'));
    await assert.rejects(enrol(madeNode('node-2', 'third')), { code: 'ek_already_bound' });
    assert.equal(verifyChain(await store.audit.entries({ limit: 100 })).ok, true);
  });

  it('spends an approval with the enrolment that it is for, once', async () => {
    await assert.rejects(enrol(approved), { code: 'enrolment_pending' });
    await approve();
    await enrol(approved);
    assert.deepEqual(await store.enrolment.approvals(), []);
    await revoke();
    await assert.rejects(enrol({ ...approved, enrolledAt: 3_000 }), { code: 'enrolment_pending' });
  });

  it('lets the later word about a name or a key win, pin or approval', async () => {
    const pin = (node: string, ekDigest: string) =>
      store.enrolment.addPins([{ node, ekDigest }], madeEvent('ek.import', 'pins'));
    await pin('node-1', 'aa');
    await approve('node-1', 'bb');
    assert.deepEqual(
      [await store.enrolment.pins(), (await store.enrolment.approvalFor('node-1'))?.ekDigest],
      [[], 'bb'],
    );
    await approve('node-2', 'bb');
    assert.deepEqual(
      (await store.enrolment.approvals()).map(({ node }) => node),
      ['node-2'],
    );
    await pin('node-3', 'bb');
    assert.deepEqual(await store.enrolment.approvals(), []);
  });

  it('forgets at a revocation every word that was given before', async () => {
    await store.enrolment.addPins(
      [{ node: 'node-1', ekDigest: one.ekDigest }],
      madeEvent('ek.import', 'pins'),
    );
    await enrol();
    const joinToken = {
      id: 'id',
      secretHash: 'aa',
      node: 'node-1',
      expiresAt: 9_000,
      usedAt: null,
      by: null,
    };
    await store.enrolment.addJoinToken(joinToken, madeEvent('join-token.create', 'node-1'));
    await approve('node-9');
    await revoke();
    assert.deepEqual(
      [
        await store.enrolment.pinFor('node-1'),
        await store.enrolment.approvalFor('node-9'),
        await store.enrolment.joinToken('id'),
      ],
      [null, null, null],
    );
  });

  it('makes approvals of bindings by first use, and of no others', async () => {
    const first = { ...madeNode('node-2'), bound: 'first-use' } as const;
    await enrol();
    await enrol(first);
    const event = (name: string) => madeEvent('enrol.approve', name);
    assert.deepEqual(await store.enrolment.approveFirstUse([one, first], event), ['node-2']);
    assert.deepEqual(
      (await store.enrolment.nodes()).map(({ bound }) => bound),
      ['pin', 'approval'],
    );
    assert.deepEqual(await store.enrolment.approveFirstUse([one, first], event), []);
  });

  it('keeps candidates until they are nodes', async () => {
    const candidate = {
      node: 'node-1',
      ekDigest: one.ekDigest,
      ekPublicArea: Buffer.from([1]),
      address: '10.0.0.1',
      certificateSubject: 'CN=tpm',
      manufacturer: null,
      firstSeen: 1,
      lastSeen: 2,
      attempts: 3,
    };
    const foreign = { ...candidate, ekDigest: 'ff', lastSeen: 1 };
    await store.enrolment.saveCandidates({ changed: [candidate, foreign], gone: [] });
    assert.deepEqual(await store.enrolment.candidates(), [foreign, candidate]);
    await enrol();
    assert.deepEqual(await store.enrolment.candidates(), [foreign]);
    await store.enrolment.saveCandidates({ changed: [], gone: [foreign] });
    assert.deepEqual(await store.enrolment.candidates(), []);
  });

  it('holds one token of a name, until it is revoked', async () => {
    assert.equal(await store.tokens.add(token, madeEvent('token.create', 'alice')), true);
    assert.equal(
      await store.tokens.add({ ...token, id: 'another-one' }, madeEvent('token.create', 'alice')),
      false,
    );
    assert.deepEqual(await store.tokens.list(), [token]);
    assert.deepEqual(await store.tokens.find(token.id), token);
    assert.equal(await store.tokens.remove('alice', madeEvent('token.revoke', 'alice')), true);
    assert.equal(await store.tokens.remove('alice', madeEvent('token.revoke', 'alice')), false);
    assert.equal(await store.tokens.find(token.id), null);
    assert.deepEqual(
      (await store.audit.entries({ limit: 10 })).map(({ action }) => action),
      ['token.create', 'token.revoke'],
    );
  });
});
