import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import type { PcrBank } from '../../../../attest-server/wire/messages.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { dataOf, eventsWhere, remeasured, without, withValue } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const unified = recordedLog('debian13-sdboot-uki');
const withOwnerKey = recordedLog('debian10-shim-grub');
const rhel = recordedLog('rhel8-shim-grub');

function captured(from: Buffer, change: Partial<Reference> = {}): Reference {
  return { ...capturedFrom(madeProof({ log: from })), ...change };
}

function judged(from: Buffer, boot: string, references: readonly Reference[]): Verdict {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  return verdictOn(madeProof({ log: from }), policy, { name: 'n' }, references, at);
}

const summary = ({ state, reasons }: Verdict) => [state, ...reasons.map(({ code }) => code)].join(' ');

/** Other words on the kernel's command line, as GRUB and the kernel measure them. */
const withWords = (from: Buffer, words: string) =>
  siblingLog(from, { text: (text) => text.replace(/(kernel_cmdline:? \S+|linux \S+)/, `$1 ${words}`) });

const withoutInitrd = (from: Buffer) => withoutNamed(from, /^\/initrd|^Linux initrd|initrd \/initrd/);

/** A variable of PCR 7 with another value, measured as its firmware would. */
function withVariable(from: Buffer, name: string, change: (value: Buffer) => Buffer): Buffer {
  const [event] = eventsWhere(
    from,
    ({ pcr, describes }) => pcr === 7 && new RegExp(`^${name}\\b`).test(describes),
  );
  assert.ok(event);
  return remeasured(from, event.index, withValue(dataOf(from, event.index), change));
}

function variableValue(from: Buffer, name: string): Buffer {
  let found = Buffer.alloc(0);
  withVariable(from, name, (value) => {
    found = Buffer.from(value);
    return value;
  });
  return found;
}

const withoutNamed = (from: Buffer, name: RegExp) =>
  without(
    from,
    eventsWhere(from, ({ describes }) => name.test(describes)).map(({ index }) => index),
  );

const debian = '"CN=Debian Secure Boot CA"';
const microsoft = '"*CN=Microsoft *"';
const zeros = '00'.repeat(32);
const foreignDb = withVariable(log, 'db', (db) => Buffer.concat([db, variableValue(log, 'PK')]));

const unreadableDb = withVariable(log, 'db', (db) =>
  Buffer.concat([db, variableValue(log, 'PK'), Buffer.of(0)]),
);

describe('a rule of the policy on boots', () => {
  const table: readonly (readonly [string, Buffer, string, Buffer, string])[] = [
    ['secureBoot holds', log, '{secureBoot: required}', log, 'trusted'],
    [
      'secureBoot is broken as referenced',
      unified,
      '{secureBoot: required}',
      unified,
      'untrusted secureboot_off',
    ],
    [
      'secureBoot is broken',
      log,
      '{secureBoot: required}',
      tamper(log, 'secureboot'),
      'untrusted secureboot_off',
    ],
    ['signers hold', log, `{signers: [${debian}, ${microsoft}]}`, log, 'trusted'],
    [
      'row 40: signers name no key that signed',
      log,
      `{signers: [${microsoft}]}`,
      log,
      'untrusted secureboot_policy',
    ],
    ['signers without Secure Boot', unified, `{signers: [${debian}]}`, unified, 'untrusted secureboot_off'],
    ['row 40: a foreign key in db', log, '{}', foreignDb, 'untrusted secureboot_policy'],
    [
      'row 40: a foreign key in db, with signers',
      log,
      `{signers: [${debian}, ${microsoft}]}`,
      foreignDb,
      'untrusted secureboot_policy',
    ],
    [
      'row 138: a db that nobody can read',
      log,
      `{signers: [${debian}, ${microsoft}]}`,
      unreadableDb,
      'untrusted secureboot_policy',
    ],
    ['a key in db that may sign', log, `{signers: [${debian}, ${microsoft}, "*"]}`, foreignDb, 'trusted'],
    [
      'row 40: dbx rolled back',
      rhel,
      '{}',
      withVariable(rhel, 'dbx', (dbx) => dbx.subarray(0, -48)),
      'untrusted secureboot_policy',
    ],
    ['dbx contains it', log, `{dbx: {contains: [${digestsOf(log)[0]}]}}`, log, 'trusted'],
    ['dbx lacks it', log, `{dbx: {contains: ["${'5a'.repeat(32)}"]}}`, log, 'untrusted secureboot_policy'],
    ['dbx is as in a reference', log, '{dbx: {reference: ref}}', log, 'trusted'],
    [
      'dbx is more than in a reference',
      log,
      '{dbx: {reference: ref}}',
      withVariable(log, 'dbx', (dbx) => Buffer.concat([dbx, variableValue(rhel, 'dbx')])),
      'trusted',
    ],
    [
      'dbx is less than in a reference',
      log,
      '{dbx: {reference: ref}}',
      withVariable(log, 'dbx', () => Buffer.alloc(0)),
      'untrusted secureboot_policy',
    ],
    [
      'dbx of a reference that is not there',
      log,
      '{dbx: {reference: other}}',
      log,
      'untrusted secureboot_policy',
    ],
    ['sbat holds', log, '{sbat: {minimum: 2025021800}}', log, 'trusted'],
    ['sbat is too old', log, '{sbat: {minimum: 2025051000}}', log, 'untrusted secureboot_policy'],
    ['sbat is not measured', rhel, '{sbat: {minimum: 2023012900}}', rhel, 'untrusted secureboot_policy'],
    [
      'row 40: a machine owner key',
      rhel,
      '{mok: forbid}',
      withOwnerKey,
      'untrusted firmware_unknown secureboot_policy bootloader_unknown kernel_unknown cmdline_policy',
    ],
    ['a referenced machine owner key', withOwnerKey, '{mok: forbid}', withOwnerKey, 'trusted'],
    ['no machine owner key', rhel, '{mok: forbid}', rhel, 'trusted'],
    [
      'row 41: a forbidden argument',
      log,
      '{cmdline: {forbid: ["init=/bin/*"]}}',
      withWords(log, 'init=/bin/sh'),
      'untrusted cmdline_policy',
    ],
    [
      'row 41: a forbidden argument, referenced',
      withWords(log, 'ima=off'),
      '{cmdline: {forbid: ["ima=off"]}}',
      withWords(log, 'ima=off'),
      'untrusted cmdline_policy',
    ],
    ['a required argument', log, '{cmdline: {require: ["ima_policy=*"]}}', log, 'trusted'],
    [
      'a required argument that is not there',
      log,
      '{cmdline: {require: ["lockdown=*"]}}',
      log,
      'untrusted cmdline_policy',
    ],
    [
      'a required argument that nobody can see',
      unified,
      '{cmdline: {require: ["lockdown=*"]}}',
      unified,
      'untrusted cmdline_policy',
    ],
    [
      'a forbidden argument that only a digest covers',
      unified,
      '{cmdline: {forbid: ["init=*"]}}',
      unified,
      'trusted',
    ],
    [
      'an allowed argument',
      log,
      '{cmdline: {allow: ["debug", "log*"]}}',
      withWords(log, 'debug loglevel=7'),
      'trusted',
    ],
    [
      'an argument that is not allowed',
      log,
      '{cmdline: {allow: ["debug"]}}',
      withWords(log, 'debug iommu=off'),
      'untrusted cmdline_policy',
    ],
    [
      'arguments in another order',
      withWords(log, 'a b'),
      '{}',
      withWords(log, 'b a'),
      'untrusted cmdline_policy',
    ],
    [
      'the exact line',
      rhel,
      `{cmdline: {exact: "root=UUID=f3948fb4-cce7-4193-940a-c50052e93bf3 ro net.ifnames=0 biosdevname=0 scsi_mod.use_blk_mq=Y crashkernel=auto console=ttyS0,38400n8"}}`,
      rhel,
      'trusted',
    ],
    [
      'another line than the exact one',
      rhel,
      '{cmdline: {exact: "ro quiet"}}',
      rhel,
      'untrusted cmdline_policy',
    ],
    [
      'row 42: an initrd that nothing measured',
      log,
      '{}',
      withoutNamed(log, /^\/initrd|^Linux initrd/),
      'untrusted initrd_unmeasured',
    ],
    [
      'row 42: a unified image without its initrd',
      unified,
      '{}',
      withoutNamed(unified, /^\.initrd|^Linux initrd/),
      'untrusted initrd_unmeasured',
    ],
    ['none: a kernel without an initrd', withoutInitrd(log), '{}', withoutInitrd(log), 'trusted'],
    ...['initrd=/evil', 'xinitrd=/evil', 'quiet="initrd=/evil"'].map((word) => {
      const named = withoutInitrd(withWords(log, word));
      return [`row 134: ${word}, and no initrd`, named, '{}', named, 'untrusted initrd_unmeasured'] as const;
    }),
    [
      'row 141: a line that names an image to resume',
      recordedLog('centos9-shim-grub'),
      '{cmdline: {resume: forbid}}',
      recordedLog('centos9-shim-grub'),
      'untrusted cmdline_policy',
    ],
    [
      'row 141: a line that lets an initrd name one',
      log,
      '{cmdline: {resume: forbid}}',
      log,
      'untrusted cmdline_policy',
    ],
    [
      'row 141: a line that keeps initrd and kernel from it for the moment of the boot',
      withWords(log, 'noresume'),
      '{cmdline: {resume: forbid}}',
      withWords(log, 'noresume'),
      'untrusted cmdline_policy',
    ],
    ...['nohibernate', 'hibernate=no', 'lockdown=integrity'].map(
      (word) =>
        [
          `no image is resumed with ${word}`,
          withWords(log, `resume=/dev/vda2 ${word}`),
          '{cmdline: {resume: forbid}}',
          withWords(log, `resume=/dev/vda2 ${word}`),
          'trusted',
        ] as const,
    ),
    [
      'row 141: a word that is for what the kernel starts',
      withWords(log, '-- nohibernate'),
      '{cmdline: {resume: forbid}}',
      withWords(log, '-- nohibernate'),
      'untrusted cmdline_policy',
    ],
    ['PCRs 0, 4 and 7 explained', log, '{explained: [0, 4, 7]}', log, 'trusted'],
    ['PCRs 1 and 5 explained by a reference', log, '{explained: [1, 5]}', log, 'trusted'],
    [
      'PCR 1 not explained',
      log,
      '{explained: [1]}',
      siblingLog(log, { firmwareSettings: true }),
      'untrusted unverified_event',
    ],
  ];
  for (const [what, before, rules, after, expected] of table)
    it(`${what}: ${expected}`, () => {
      assert.equal(summary(judged(after, rules, [captured(before)])), expected);
    });

  it('names the key that is not allowed', () => {
    const [reason] = judged(foreignDb, `{signers: [${debian}, ${microsoft}]}`, [captured(log)]).reasons;
    assert.match(reason?.text ?? '', /CN=.* of db|in db/);
    assert.match(reason?.actual ?? '', /sha256:[0-9a-f]{64}$/);
  });

  it('or its breach names the key also where a reference alone is compared with', () => {
    const subject = madeProof({ log }).boot?.state.secureBoot.databases[0]?.entries[0]?.subject ?? '';
    const text = judged(foreignDb, '{}', [captured(log)]).reasons[0]?.text ?? '';
    assert.ok(subject.length > 10 && text.includes(subject.slice(0, 40)), text);
    const older = withVariable(rhel, 'dbx', (dbx) => dbx.subarray(0, -48));
    assert.match(
      judged(older, '{}', [captured(rhel)]).reasons[0]?.text ?? '',
      /dbx without \d+ of the revocations/,
    );
  });

  it('holds without any reference', () =>
    assert.equal(
      summary(judged(unified, '{secureBoot: required}', [])),
      'untrusted secureboot_off no_reference',
    ));
});

function digestsOf(from: Buffer, bank: PcrBank = 'sha256'): readonly string[] {
  const { boot } = madeProof({ log: from, bank });
  const databases = boot?.state.secureBoot.databases ?? [];
  return databases.flatMap(({ name, entries }) =>
    name === 'dbx' ? entries.map(({ digest }) => digest ?? zeros) : [],
  );
}
