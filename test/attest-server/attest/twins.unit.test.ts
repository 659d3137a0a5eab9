import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { migrate } from '../../../attest-server/store/sqlite/migrations.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { madeEvent, madeVerdict } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { ekAttributes, ekTemplate, madeArea } from '../verify/software-key.ts';
import { madeMachine, madePorts, verdictOf } from './made-machine.ts';

/** Of 0.3.0, which took over what 0.1.0 had enrolled, and enrols no such node itself. */
const before = 17;

describe('nodes of one TPM, which an earlier version enrolled (row 117)', () => {
  const tpm = forgedTpm();
  const [one, other, third] = [madeMachine('node-1', tpm), madeMachine('node-2', tpm), madeMachine('node-3')];
  const noDa = madeArea('p256', tpm.ek.publicKey, { ...ekTemplate, attributes: ekAttributes | (1 << 10) });
  let dir: string;
  let store: Store;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-twins-'));
    const file = join(dir, 'state', 'assay.db');
    mkdirSync(join(dir, 'state'), { mode: 0o700 });
    writeFileSync(file, '', { mode: 0o600 });
    const database = new DatabaseSync(file);
    migrate(database, before);
    const { sql } =
      database.prepare("select sql from sqlite_master where name = 'one_tpm_is_one_node'").get() ?? {};
    database.exec('drop trigger one_tpm_is_one_node');
    enrol(database, one.record);
    enrol(database, { ...other.record, ekDigest: 'd'.repeat(64), ekPublicArea: noDa });
    enrol(database, third.record);
    database.exec(String(sql));
    database.close();
    store = await openMadeStore(file);
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  const open = () => Attestation.open(madePorts(store, { policy: observePolicy, now: () => 9_000 }), null);
  const shown = (attestation: Attestation, name: string) => {
    const { state, verdict } = attestation.status(name) ?? assert.fail(name);
    return [state, verdict?.reasons[0]?.code ?? null];
  };
  const revoke = (name: string, ekDigest: string) =>
    store.enrolment.revoke({ name, ekDigest, at: 9_000, reason: 'copied' }, madeEvent('enrol.revoke', name));

  it('are untrusted before either says a word, with an audit entry each, and once', async () => {
    for (const times of [1, 2]) {
      const attestation = await open();
      assert.deepEqual(shown(attestation, 'node-1'), ['untrusted', 'ek_already_bound'], `${times}`);
      assert.deepEqual(shown(attestation, 'node-2'), ['untrusted', 'ek_already_bound']);
      assert.deepEqual(shown(attestation, 'node-3'), ['trusted', null]);
      assert.match(attestation.status('node-1')?.verdict?.reasons[0]?.text ?? '', /node-2/);
      const entries = (await store.audit.entries({ limit: 10 })).map(({ subject, code }) => [subject, code]);
      assert.deepEqual(entries, [
        ['node-1', 'ek_already_bound'],
        ['node-2', 'ek_already_bound'],
      ]);
    }
    assert.equal((await store.verdicts.status('node-2'))?.state, 'untrusted');
  });

  it('stay so whatever they prove, and however often their key is approved', async () => {
    const attestation = await open();
    const judged = await verdictOf(attestation.judge(one.node, one.answer(10_000)));
    assert.deepEqual([judged.state, judged.codes[0]], ['untrusted', 'ek_already_bound']);
    assert.equal(await attestation.lives.approveAgain('node-1', 'token:admin'), false);
    assert.equal((await verdictOf(attestation.judge(one.node, one.answer(11_000)))).state, 'untrusted');
    assert.equal((await verdictOf(attestation.judge(third.node, third.answer(11_000)))).state, 'trusted');
  });

  it('are one node once a person has revoked the other', async () => {
    const attestation = await open();
    await attestation.lives.release('node-2', () => revoke('node-2', 'd'.repeat(64)));
    assert.deepEqual(shown(attestation, 'node-1'), ['untrusted', 'ek_already_bound']);
    assert.equal((await verdictOf(attestation.judge(one.node, one.answer(10_000)))).state, 'trusted');
    assert.deepEqual(await store.enrolment.twins(), []);
    assert.equal(await store.enrolment.wasRevoked(one.record), true);
  });

  it('do not become more: not by the key, nor by the attestation key, under whatever area', async () => {
    const stranger = madeMachine('node-4').record;
    for (const keys of [{ keyDigest: tpm.keyDigest }, { akName: one.record.akName }])
      await assert.rejects(store.enrolment.enrol({ ...stranger, ...keys }, madeEvent('enrol', 'node-4')), {
        code: 'ek_already_bound',
      });
    await store.enrolment.enrol(stranger, madeEvent('enrol', 'node-4'));
  });

  /** As that version wrote a node that it found trusted. */
  function enrol(database: DatabaseSync, node: EnrolledNode): void {
    database
      .prepare(
        `insert into nodes (ek_digest, name, bound, ek_public_area, ak_public_area, ak_name, key_digest, enrolled_at)
         values (?, ?, ?, ?, ?, ?, ?, 0)`,
      )
      .run(
        ...[node.ekDigest, node.name, node.bound, node.ekPublicArea, node.akPublicArea, node.akName],
        node.keyDigest,
      );
    database
      .prepare(`insert into statuses (ek_digest, state, verdict, verified_at) values (?, 'trusted', ?, 5000)`)
      .run(node.ekDigest, JSON.stringify(madeVerdict('trusted')));
  }
});
