import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { dataOf, edited, eventWhere, remeasured, retyped, withValue } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const all = capturedFrom(madeProof({ log }));

/** As somebody writes it who leaves to the policy what is named so. */
function without(...names: readonly RegExp[]): Reference {
  const components = all.components.filter(
    ({ stage, description }) => stage !== 'secureboot' || !names.some((name) => name.test(description)),
  );
  return { ...all, events: [], components };
}

const setting = (name: string) =>
  eventWhere(log, ({ pcr, type, describes }) => {
    const named = describes === name || describes.startsWith(`${name}:`) || describes.startsWith(`${name} `);
    return pcr === 7 && type === 'EV_EFI_VARIABLE_DRIVER_CONFIG' && named;
  }).index;
const changed = (name: string, change: (value: Buffer) => Buffer) =>
  remeasured(log, setting(name), withValue(dataOf(log, setting(name)), change));
const emptied = () => Buffer.alloc(0);
const mokList = eventWhere(log, ({ pcr, describes }) => pcr === 14 && describes === 'MokList').index;
const otherMokList = remeasured(log, mokList, dataOf(log, mokList), Buffer.from('keys of somebody else'));
const lacking = (name: string) => (name === 'MokList' ? otherMokList : changed(name, emptied));

function judged(from: Buffer, boot: string, reference: Reference): string {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  const { state, reasons } = verdictOn(madeProof({ log: from }), policy, { name: 'n' }, [reference], 0);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

describe('a rule on signers (row 138)', () => {
  const nothing = without(/./);
  const rule = '{signers: ["*"], secureBoot: required}';

  for (const name of ['PK', 'KEK', 'dbx', 'MokList'])
    it(`says nothing of ${name}, which a reference must have`, () => {
      assert.equal(judged(log, rule, nothing), 'pending no_reference');
      assert.equal(judged(lacking(name), rule, nothing), 'pending no_reference');
      assert.match(judged(lacking(name), rule, all), /^untrusted secureboot_policy/);
      assert.match(
        judged(log, rule, without(new RegExp(`^${name}\\b`))),
        /^(untrusted secureboot_policy|pending no_reference)/,
      );
    });

  it('takes authorities and db away from a reference, and nothing else', () => {
    const rest = without(/^db:/, /^MokListRT/);
    assert.equal(judged(log, rule, rest), 'trusted');
    assert.match(judged(log, '{}', rest), /^untrusted secureboot_policy/);
  });

  it('takes no list away that the log calls an authority', () => {
    const list = retyped(lacking('PK'), setting('PK'), 0x800000e0);
    assert.match(judged(list, rule, all), /^untrusted unverified_event/);
  });

  it('is not blind to a db that the log gives another type or other data', () => {
    const foreign = changed('db', (db) => Buffer.concat([db, db]));
    const types = [0x80000002, 0x0d, 0x06, 0x0c, 0x01, 0x80000009, 0x800000e1];
    for (const type of types)
      for (const data of [dataOf(foreign, setting('db')), Buffer.from('hidden\0'), Buffer.alloc(4)]) {
        const hidden = retyped(edited(foreign, setting('db'), data), setting('db'), type);
        for (const reference of [all, nothing])
          assert.match(judged(hidden, rule, reference), /^untrusted (unverified_event|event_data_mismatch)/);
      }
  });
});

describe('rules on each part of the Secure Boot settings', () => {
  const rules =
    '{signers: ["*"], secureBoot: required, dbx: {contains: ["DBX"]}, sbat: {minimum: 2025021800}, mok: forbid}'.replace(
      'DBX',
      madeProof({ log }).boot?.state.secureBoot.databases.find(({ name }) => name === 'dbx')?.entries[0]
        ?.digest ?? '',
    );
  const rest = without(/^db:/, /^MokListRT/, /^dbx/, /^SbatLevel/, /^MokList$/);

  it('take their parts away from a reference', () => assert.equal(judged(log, rules, rest), 'trusted'));

  for (const name of ['dbx', 'PK', 'KEK', 'MokList'])
    it(`do not leave ${name} to nobody`, () =>
      assert.match(judged(lacking(name), rules, rest), /^untrusted secureboot_policy/));

  it('leave a switch of shim that is on to the reference', () =>
    assert.match(
      judged(log, rules, without(/^db:/, /^MokListRT/, /^dbx/, /^SbatLevel/, /^Mok/)),
      /^untrusted secureboot_policy/,
    ));
});
