import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import type { JoinToken } from '../../../attest-server/enrolment/ports.ts';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { NotNow } from '../../../attest-server/formats/reference-life.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { referenceOf } from '../http/api-fixture.ts';
import { madeEvent, madeNode, madeRecord, madeStatus, madeVerdict } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const one = madeNode('node-1');
const two = madeNode('node-2');

for (const place of ['in memory', 'in a file'] as const) {
  describe(`a store ${place}`, () => {
    let folder: string;
    let store: Store;

    beforeEach(async () => {
      folder = mkdtempSync(join(tmpdir(), 'assay-store-'));
      const path = place === 'in memory' ? ':memory:' : join(folder, 'state', 'assay.db');
      store = await openMadeStore(path);
    });
    afterEach(async () => {
      await store[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    });

    const enrol = (node = one) => store.enrolment.enrol(node, madeEvent('enrol', node.name));
    const actions = async () => (await store.audit.entries({ limit: 100 })).map(({ action }) => action);

    it('gives back an enrolled node as it was, by name and by endorsement key', async () => {
      await enrol();
      const withCertificate = {
        ...two,
        ekCertificate: Buffer.from([48, 0]),
        manufacturer: null,
        endorsedBy: null,
      };
      await enrol(withCertificate);
      assert.deepEqual(await store.enrolment.node('node-1'), one);
      assert.deepEqual(await store.enrolment.nodeByEk(two.ekDigest), withCertificate);
      assert.deepEqual(await store.enrolment.nodes(), [one, withCertificate]);
      assert.equal(await store.enrolment.node('node-3'), null);
      assert.equal(await store.enrolment.nodeByEk('00'), null);
    });

    it('shows a node as pending from its enrolment on', async () => {
      await enrol();
      const status = await store.verdicts.status('node-1');
      assert.equal(status?.state, 'pending');
      assert.equal(status?.verdict, null);
      assert.equal(status?.ekDigest, one.ekDigest);
      assert.equal(await store.verdicts.status('node-2'), null);
    });

    for (const [what, node] of [
      ['the same key under another name', madeNode('node-9', 'node-1')],
      ['another key under the same name', madeNode('node-1', 'another')],
      ['the same key under the same name', one],
    ] as const) {
      it(`refuses ${what}, and changes nothing`, async () => {
        await enrol();
        await assert.rejects(enrol(node), { name: 'Rejection', code: 'ek_already_bound' });
        assert.deepEqual(await store.enrolment.nodes(), [one]);
        assert.deepEqual(await actions(), ['enrol']);
      });
    }

    it('lets exactly one of many enrolments of one name win', async () => {
      const claims = Array.from({ length: 8 }, (_, index) => enrol(madeNode('node-1', `tpm ${index}`)));
      const results = await Promise.allSettled(claims);
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
      assert.equal((await store.verdicts.statuses()).length, 1);
    });

    it('gives back a verdict as it was: status, history, evidence and audit', async () => {
      await enrol();
      const record = madeRecord(one, 2_000, madeVerdict('untrusted', 'kernel_unknown', 'pcr_mismatch'));
      await store.verdicts.recordChange(record);
      assert.deepEqual(await store.verdicts.status('node-1'), record.status);
      assert.deepEqual(await store.verdicts.statuses(), [record.status]);
      assert.deepEqual(await store.verdicts.history('node-1', { limit: 10 }), [
        { ...record.history[0], node: 'node-1' },
      ]);
      const blob = record.evidence[0];
      assert.deepEqual(await store.evidence.read(blob?.digest ?? '', 'node-1'), blob?.bytes);
      assert.equal(await store.evidence.read('00'), null);
      assert.equal((await store.audit.entries({ limit: 10 }))[1]?.code, 'kernel_unknown');
    });

    it('gives back a status whose parts are all unknown', async () => {
      await enrol();
      await store.verdicts.recordChange(madeRecord(one, 2_000));
      const empty = {
        ...madeStatus(one, madeVerdict('unknown'), 3_000),
        verdict: null,
        verifiedAt: null,
        expiresAt: null,
        bootedAt: null,
        resetCount: null,
        restartCount: null,
        clock: null,
        firmwareVersion: null,
        bootId: null,
        kernel: null,
        systemUuid: null,
      };
      await store.verdicts.recordChange({ status: empty, at: 3_000, evidence: [], history: [], audit: [] });
      assert.deepEqual(await store.verdicts.status('node-1'), empty);
    });

    it('writes evidence that it holds only once', async () => {
      await enrol();
      const log = Buffer.from('one log');
      await store.verdicts.recordChange(madeRecord(one, 2_000, madeVerdict('trusted'), log));
      await store.verdicts.recordChange(madeRecord(one, 3_000, madeVerdict('trusted'), log));
      assert.deepEqual(await store.evidence.read(hash('sha256', log, 'hex'), 'node-1'), log);
    });

    it('gives what a verdict of one node was made from, and what many share', async () => {
      await enrol();
      const made = madeRecord(one, 2_000);
      const log = Buffer.from('one log');
      const shared = { digest: hash('sha256', log, 'hex'), bytes: log };
      const lapsed = { at: 2_500, verdict: madeVerdict('unknown'), transition: true };
      const history = made.history.flatMap((row) => [row, { ...row, ...lapsed }]);
      await store.verdicts.recordChange({ ...made, history, evidence: [...made.evidence, shared] });
      await store.verdicts.recordChange(madeRecord(one, 3_000));
      const [own] = made.evidence;
      const digest = own?.digest ?? '';
      assert.equal(await store.evidence.read(digest), null);
      assert.deepEqual(await store.evidence.read(digest, 'node-1'), own?.bytes);
      assert.equal(await store.evidence.read(digest, 'node-2'), null);
      assert.deepEqual(await store.evidence.read(shared.digest, 'node-2'), log);
    });

    it('writes shared evidence again where the transaction that held it came to nothing', async () => {
      await enrol();
      const log = Buffer.from('one log');
      const shared = { digest: hash('sha256', log, 'hex'), bytes: log };
      const made = madeRecord(one, 2_000);
      const bad = { digest: '00'.repeat(32), bytes: log };
      await assert.rejects(store.verdicts.recordChange({ ...made, evidence: [shared, bad] }));
      assert.equal(await store.evidence.read(shared.digest), null);
      await store.verdicts.recordChange({ ...made, evidence: [...made.evidence, shared] });
      assert.deepEqual(await store.evidence.read(shared.digest), log);
    });

    it('records all of a verdict or nothing of it', async () => {
      await enrol();
      const before = await store.verdicts.status('node-1');
      const record = madeRecord(one, 2_000);
      const wrongDigest = [
        ...record.evidence,
        { digest: hash('sha256', 'other', 'hex'), bytes: Buffer.from('bytes') },
      ];
      const badDetail = { ...madeEvent('verdict', 'node-1'), detail: { figure: Number.NaN } };
      await assert.rejects(store.verdicts.recordChange({ ...record, evidence: wrongDigest }), /digest/);
      await assert.rejects(
        store.verdicts.recordChange({ ...record, audit: [...record.audit, badDetail] }),
        TypeError,
      );
      assert.deepEqual(await store.verdicts.status('node-1'), before);
      assert.deepEqual(await store.verdicts.history('node-1', { limit: 10 }), []);
      assert.equal(await store.evidence.read(record.evidence[0]?.digest ?? '', 'node-1'), null);
      assert.deepEqual(await actions(), ['enrol']);
    });

    it('records no verdict for a node that is not enrolled under that key', async () => {
      await enrol();
      await assert.rejects(store.verdicts.recordChange(madeRecord(two, 2_000)), /node-2/);
      await assert.rejects(
        store.verdicts.recordChange(madeRecord(madeNode('node-1', 'another'), 2_000)),
        /node-1/,
      );
    });

    it('lists history newest first, a page at a time, with nothing lost between pages', async () => {
      await enrol();
      await enrol(two);
      await store.verdicts.recordChange(madeRecord(two, 2_500));
      for (const at of [2_000, 3_000]) {
        const record = madeRecord(one, at);
        const rebooted = { ...record.history[0]!, verdict: madeVerdict('pending', 'rebooted') };
        await store.verdicts.recordChange({ ...record, history: [rebooted, ...record.history] });
      }
      const states: string[] = [];
      let before: number | undefined;
      for (;;) {
        const [entry] = await store.verdicts.history('node-1', {
          limit: 1,
          ...(before === undefined ? {} : { before }),
        });
        if (entry === undefined) break;
        states.push(entry.verdict.state);
        before = entry.at;
      }
      assert.deepEqual(states, ['trusted', 'pending', 'trusted', 'pending']);
      assert.equal((await store.verdicts.history('node-1', { limit: 3 })).length, 3);
    });

    it('keeps references, and refuses a second one of the same name', async () => {
      const reference: Reference = {
        version: 1,
        kind: 'boot',
        name: 'workers-1',
        group: 'workers',
        state: 'active',
        expires: null,
        pcrs: { sha256: { 4: 'ab'.repeat(32) } },
        components: [],
        events: [],
      };
      await store.references.add(reference, madeEvent('reference.capture', 'workers-1'));
      await assert.rejects(
        store.references.add(reference, madeEvent('reference.capture', 'workers-1')),
        /exists/,
      );
      assert.deepEqual(await store.references.list(), [reference]);
      assert.deepEqual(await actions(), ['reference.capture']);
      const retired = { ...reference, state: 'retired' as const };
      await store.references.update(retired, madeEvent('reference.retire', 'workers-1'));
      const other = { ...reference, name: 'workers-2' };
      await assert.rejects(store.references.update(other, madeEvent('reference.retire', 'workers-2')));
      assert.deepEqual(await store.references.list(), [retired]);
      assert.deepEqual(await actions(), ['reference.capture', 'reference.retire']);
      await store.references.remove('workers-1', madeEvent('reference.delete', 'workers-1'));
      assert.deepEqual(await store.references.list(), []);
      await assert.rejects(store.references.remove('workers-1', madeEvent('reference.delete', 'workers-1')));
      await store.references.add(reference, madeEvent('reference.capture', 'workers-1'));
      assert.deepEqual(await actions(), [
        'reference.capture',
        'reference.retire',
        'reference.delete',
        'reference.capture',
      ]);
    });

    it('adds several references with their audit entries, or none of them', async () => {
      const added = (name: string) => ({
        reference: referenceOf(name),
        audit: madeEvent('reference.capture', name),
      });
      await store.references.addAll([added('workers-1'), added('workers-2')]);
      // Whoever asked is told so: somebody else was quicker.
      await assert.rejects(store.references.addAll([added('workers-3'), added('workers-2')]), NotNow);
      const names = (await store.references.list()).map(({ name }) => name);
      assert.deepEqual(names, ['workers-1', 'workers-2']);
      assert.deepEqual(await actions(), ['reference.capture', 'reference.capture']);
    });

    it('keeps references up to a size: all of them are in memory, and kept beside evidence', async () => {
      const large = (name: string): Reference => ({
        version: 1,
        kind: 'boot',
        name,
        group: 'workers',
        state: 'active',
        expires: null,
        pcrs: {},
        components: [],
        events: [
          {
            index: 0,
            pcr: 0,
            type: 'x',
            digests: {},
            stage: 'os',
            describes: 'x'.repeat(limits.references.all * 0.4),
          },
        ],
      });
      const event = madeEvent('reference.import', 'workers');
      await store.references.add(large('workers-1'), event);
      await store.references.add(large('workers-2'), event);
      await assert.rejects(store.references.add(large('workers-3'), event), { code: 'too_large' });
      assert.deepEqual(await actions(), ['reference.import', 'reference.import']);
    });

    it('keeps pins: the later word wins, a list that contradicts itself is refused', async () => {
      const pin = (node: string, ekDigest: string) => ({ node, ekDigest });
      const event = madeEvent('ek.import', 'list');
      await store.enrolment.addPins([pin('node-1', 'aa'), pin('node-2', 'bb')], event);
      await store.enrolment.addPins([pin('node-1', 'cc'), pin('node-3', 'bb')], event);
      assert.deepEqual(await store.enrolment.pinFor('node-1'), {
        ...pin('node-1', 'cc'),
        by: event.actor,
      });
      assert.equal(await store.enrolment.pinFor('node-2'), null);
      await assert.rejects(store.enrolment.addPins([pin('node-4', 'dd'), pin('node-4', 'ee')], event));
      await assert.rejects(store.enrolment.addPins([pin('node-4', 'dd'), pin('node-5', 'dd')], event));
      assert.deepEqual(
        (await store.enrolment.pins()).map(({ node }) => node),
        ['node-1', 'node-3'],
      );
    });

    describe('with a join token', () => {
      const token: JoinToken = {
        id: 'token-1',
        secretHash: 'ab'.repeat(32),
        node: 'node-1',
        expiresAt: 5_000,
        usedAt: null,
        by: 'token:alice',
      };
      const enrolWith = (node: typeof one, id = token.id) =>
        store.enrolment.enrol(node, madeEvent('enrol', node.name), id);

      beforeEach(() => store.enrolment.addJoinToken(token, madeEvent('join-token.create', token.node)));

      it('spends it with the enrolment', async () => {
        assert.deepEqual(await store.enrolment.joinToken(token.id), token);
        await enrolWith(one);
        assert.deepEqual(await store.enrolment.joinToken(token.id), { ...token, usedAt: one.enrolledAt });
        assert.equal(await store.enrolment.joinToken('token-2'), null);
      });

      it('lets it be used by exactly one of two machines at once', async () => {
        const results = await Promise.allSettled([enrolWith(one), enrolWith(madeNode('node-1', 'another'))]);
        assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
        assert.equal((await store.enrolment.nodes()).length, 1);
      });

      it('lists it, and takes it back once, with the entry that says so', async () => {
        const other = { ...token, id: 'token-2', expiresAt: 6_000 };
        await store.enrolment.addJoinToken(other, madeEvent('join-token.create', other.node));
        assert.deepEqual(await store.enrolment.joinTokens(), [other, token]);
        const remove = () =>
          store.enrolment.removeJoinToken(token.id, (node) => madeEvent('join-token.revoke', node));
        assert.deepEqual([await remove(), await remove()], [true, false]);
        assert.deepEqual(await store.enrolment.joinTokens(), [other]);
        const entries = await store.audit.entries({ limit: 100 });
        assert.deepEqual(
          entries.filter(({ action }) => action === 'join-token.revoke').map(({ subject }) => subject),
          [token.node],
        );
        await assert.rejects(enrolWith(one), { code: 'enrolment_pending' });
      });

      it('takes none back that was used', async () => {
        await enrolWith(one);
        const gone = await store.enrolment.removeJoinToken(token.id, (node) =>
          madeEvent('join-token.revoke', node),
        );
        assert.equal(gone, false);
        assert.equal((await store.enrolment.joinTokens()).length, 1);
      });

      it('keeps it unspent where the enrolment fails', async () => {
        await enrol();
        await assert.rejects(enrolWith(one), { code: 'ek_already_bound' });
        assert.deepEqual(await store.enrolment.joinToken(token.id), token);
      });

      for (const [what, claim] of [
        ['for another name', () => enrolWith(two)],
        ['that does not exist', () => enrolWith(one, 'token-2')],
        ['that has expired', () => enrolWith({ ...one, enrolledAt: token.expiresAt })],
      ] as const) {
        it(`refuses one ${what}`, async () => {
          await assert.rejects(claim(), { name: 'Rejection', code: 'enrolment_pending' });
          assert.deepEqual(await store.enrolment.nodes(), []);
        });
      }
    });

    it('chains the audit log, also when many write at once', async () => {
      await enrol();
      await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          index % 2
            ? store.audit.append(madeEvent('refuse', 'x\ud800'))
            : store.verdicts.recordChange(madeRecord(one, index)),
        ),
      );
      const entries = await store.audit.entries({ limit: 100 });
      assert.deepEqual(verifyChain(entries), { ok: true, size: 21, head: entries.at(-1)?.hash });
      const rest = await store.audit.entries({ after: 19, limit: 100 });
      assert.deepEqual(
        rest.map(({ seq }) => seq),
        [20, 21],
      );
    });

    it('searches the audit log in bounded parts, from either end', async () => {
      for (let seq = 1; seq <= 5; seq++)
        await store.audit.append({ ...madeEvent(seq === 2 ? 'backup' : 'enrol', `node-${seq}`), at: seq });
      const search = async (newestFirst: boolean, filter = {}, limit = 100) => {
        const found: number[] = [];
        let asked = 0;
        for (let after: number | null = null; asked === 0 || after !== null; asked++) {
          const part = await store.audit.search({ filter, after, newestFirst, limit, bytes: 1e6 });
          found.push(...part.items.map(({ seq }) => seq));
          after = part.next;
        }
        return found;
      };
      for (const limit of [1, 2, 100]) {
        assert.deepEqual(await search(false, {}, limit), [1, 2, 3, 4, 5]);
        assert.deepEqual(await search(true, {}, limit), [5, 4, 3, 2, 1]);
        assert.deepEqual(await search(true, { action: ['backup'] }, limit), [2]);
        assert.deepEqual(await search(false, { since: 2, until: 5 }, limit), [2, 3, 4]);
        // Not `node-4`, although that is a part of it.
        assert.deepEqual(await search(false, { node: 'node-4' }, limit), [4]);
        assert.deepEqual(await search(false, { node: 'node' }, limit), []);
      }
      const past = { filter: {}, limit: 9, bytes: 1e6 };
      assert.equal((await store.audit.search({ ...past, after: 5, newestFirst: false })).next, null);
      assert.equal((await store.audit.search({ ...past, after: 1, newestFirst: true })).next, null);
    });
  });
}
