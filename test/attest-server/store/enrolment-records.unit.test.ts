import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { openSqliteStore } from '../../../attest-server/store/sqlite-store.ts';
import type { ApiToken, Store } from '../../../attest-server/store/store.ts';
import { madeEvent, madeNode, madeRecord } from './made-records.ts';

const one = madeNode('node-1');
const approved = { ...one, bound: 'approval' } as const;
const revocation = { name: 'node-1', ekDigest: one.ekDigest, at: 2_000, reason: 'sold' };
const token: ApiToken = {
  ...{ id: 'abcdefghijkl', name: 'alice', role: 'operator', secretHash: 'ab'.repeat(32) },
  ...{ createdBy: 'token:admin', createdAt: 1, expiresAt: null },
};

describe('a store of who is who', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openSqliteStore(':memory:', { chain: chainEntry });
  });
  afterEach(() => store.close());

  const enrol = (node = one) => store.enrol(node, madeEvent('enrol', node.name));
  const revoke = () => store.revoke(revocation, madeEvent('enrol.revoke', 'node-1'));
  const approve = (node = 'node-1', ekDigest = one.ekDigest) =>
    store.addApproval({ node, ekDigest, by: 'token:admin', at: 1 }, madeEvent('enrol.approve', node));

  it('frees a revoked name, keeps the record apart, and its history', async () => {
    await enrol();
    await store.recordVerdict(madeRecord(one, 1_000));
    await revoke();
    assert.deepEqual(
      [await store.node('node-1'), await store.nodeByEk(one.ekDigest), await store.status('node-1')],
      [null, null, null],
    );
    assert.deepEqual([await store.nodes(), await store.statuses()], [[], []]);
    assert.equal(await store.wasRevoked(one.ekDigest), true);
    assert.equal((await store.history('node-1', { limit: 10 })).length, 1);
    await assert.rejects(revoke(), { code: 'enrolment_pending' });
    await assert.rejects(store.recordVerdict(madeRecord(one, 3_000)), { code: 'enrolment_pending' });
    await enrol(madeNode('node-1', 'another'));
    assert.notEqual((await store.node('node-1'))?.ekDigest, one.ekDigest);
  });

  it('takes a revoked key anew, under any free name, and none that is bound', async () => {
    await enrol();
    await revoke();
    await assert.rejects(enrol(one), { code: 'enrolment_pending' });
    const again = { ...one, name: 'node-2', enrolledAt: 2_001, akName: `000b${'ff'.repeat(32)}` };
    await enrol(again);
    assert.deepEqual(await store.nodeByEk(one.ekDigest), again);
    assert.equal((await store.status('node-2'))?.state, 'pending');
    assert.equal(await store.wasRevoked(one.ekDigest), false);
    await assert.rejects(enrol(one), { code: 'ek_already_bound' });
    await enrol(madeNode('node-1', 'another'));
    await assert.rejects(enrol(madeNode('node-2', 'third')), { code: 'ek_already_bound' });
    assert.equal(verifyChain(await store.auditEntries({ limit: 100 })).ok, true);
  });

  it('spends an approval with the enrolment that it is for, once', async () => {
    await assert.rejects(enrol(approved), { code: 'enrolment_pending' });
    await approve();
    await enrol(approved);
    assert.deepEqual(await store.approvals(), []);
    await revoke();
    await assert.rejects(enrol({ ...approved, enrolledAt: 3_000 }), { code: 'enrolment_pending' });
  });

  it('lets the later word about a name or a key win, pin or approval', async () => {
    const pin = (node: string, ekDigest: string) =>
      store.addPins([{ node, ekDigest }], madeEvent('ek.import', 'pins'));
    await pin('node-1', 'aa');
    await approve('node-1', 'bb');
    assert.deepEqual([await store.pins(), (await store.approvalFor('node-1'))?.ekDigest], [[], 'bb']);
    await approve('node-2', 'bb');
    assert.deepEqual(
      (await store.approvals()).map(({ node }) => node),
      ['node-2'],
    );
    await pin('node-3', 'bb');
    assert.deepEqual(await store.approvals(), []);
  });

  it('forgets at a revocation every word that was given before', async () => {
    await store.addPins([{ node: 'node-1', ekDigest: one.ekDigest }], madeEvent('ek.import', 'pins'));
    await enrol();
    const joinToken = { id: 'id', secretHash: 'aa', node: 'node-1', expiresAt: 9_000, usedAt: null };
    await store.addJoinToken(joinToken, madeEvent('join-token.create', 'node-1'));
    await approve('node-9');
    await revoke();
    assert.deepEqual(
      [await store.pinFor('node-1'), await store.approvalFor('node-9'), await store.joinToken('id')],
      [null, null, null],
    );
  });

  it('makes approvals of bindings by first use, and of no others', async () => {
    const first = { ...madeNode('node-2'), bound: 'first-use' } as const;
    await enrol();
    await enrol(first);
    const event = (name: string) => madeEvent('enrol.approve', name);
    assert.deepEqual(await store.approveFirstUse([one, first], event), ['node-2']);
    assert.deepEqual(
      (await store.nodes()).map(({ bound }) => bound),
      ['pin', 'approval'],
    );
    assert.deepEqual(await store.approveFirstUse([one, first], event), []);
  });

  it('keeps candidates until they are nodes', async () => {
    const candidate = {
      ...{ node: 'node-1', ekDigest: one.ekDigest, ekPublicArea: Buffer.from([1]), address: '10.0.0.1' },
      ...{ certificateSubject: 'CN=tpm', manufacturer: null, firstSeen: 1, lastSeen: 2, attempts: 3 },
    };
    const foreign = { ...candidate, ekDigest: 'ff', lastSeen: 1 };
    await store.saveCandidates({ changed: [candidate, foreign], gone: [] });
    assert.deepEqual(await store.candidates(), [foreign, candidate]);
    await enrol();
    assert.deepEqual(await store.candidates(), [foreign]);
    await store.saveCandidates({ changed: [], gone: [foreign] });
    assert.deepEqual(await store.candidates(), []);
  });

  it('holds one token of a name, until it is revoked', async () => {
    assert.equal(await store.addApiToken(token, madeEvent('token.create', 'alice')), true);
    assert.equal(
      await store.addApiToken({ ...token, id: 'another-one' }, madeEvent('token.create', 'alice')),
      false,
    );
    assert.deepEqual(await store.apiTokens(), [token]);
    assert.deepEqual(await store.apiToken(token.id), token);
    assert.equal(await store.removeApiToken('alice', madeEvent('token.revoke', 'alice')), true);
    assert.equal(await store.removeApiToken('alice', madeEvent('token.revoke', 'alice')), false);
    assert.equal(await store.apiToken(token.id), null);
    assert.deepEqual(
      (await store.auditEntries({ limit: 10 })).map(({ action }) => action),
      ['token.create', 'token.revoke'],
    );
  });
});
