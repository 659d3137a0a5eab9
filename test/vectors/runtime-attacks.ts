import { hash } from 'node:crypto';
import type { ReasonCode } from '../../attest-server/wire/reasons.ts';
import { entriesIn, type MeasuredEntry, measuredEntry } from '../../swtpm-fixtures/ima-list.ts';
import { recordedList, recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import type { Attack } from './attacks.ts';

const log = recordedLog('debian13-shim-grub');
/** What that machine ran, under `ima_policy=tcb`: 107 entries, of which the first is boot_aggregate. */
export const ran = entriesIn(recordedList('debian13-shim-grub'));

export const rulesOfRuntime = 'policy: {covers: [exec, mmap, modules, kexec, policy, rootReads]}';
const contentOf = (name: string): Buffer => hash('sha256', `what ${name} holds`, 'buffer');
const file = (name: string): MeasuredEntry => measuredEntry({ digest: contentOf(name), name });

/** Files that a reference of the folder `runtime` names, beside those that the machine ran. */
export const revokedFile = { path: '/usr/sbin/once-good', digest: contentOf('/usr/sbin/once-good') };
export const narrowPolicy = { path: '/etc/ima/ima-policy', digest: contentOf('/etc/ima/ima-policy') };
const unknown = '/usr/local/bin/miner';
/** Of /bin/busybox of that machine. */
const knownContent = digestOf(ran[2]);

/** A file that was written to while it was measured: nobody knows what was read. */
function violationOf(name: string): MeasuredEntry {
  const { bytes } = measuredEntry({ digest: Buffer.alloc(32), name });
  return entriesIn(Buffer.concat([bytes.subarray(0, 4), Buffer.alloc(20), bytes.subarray(24)]))[0]!;
}

function withTemplate(name: string, template: string): MeasuredEntry {
  return measuredEntry({ digest: contentOf(name), name, template });
}

/** SHA-256 of the file, which the templates ima-ng and ima-sig begin with. */
function digestOf(entry: MeasuredEntry | undefined): Buffer {
  const begin = entry?.bytes.indexOf('sha256:\0') ?? -1;
  if (entry === undefined || begin < 0) throw new Error('this entry is of no file');
  return entry.bytes.subarray(begin + 8, begin + 40);
}

/** What ran, with an entry in the place of one of it. */
const replaced = (index: number, entry: MeasuredEntry) => ran.with(index, entry);

const untrusted = (...codes: readonly ReasonCode[]) => ({ state: 'untrusted', codes }) as const;
const trusted = (...codes: readonly ReasonCode[]) => ({ state: 'trusted', codes }) as const;

type RuntimeAttack = Pick<Attack, 'name' | 'rows' | 'attack' | 'made' | 'expected'> & {
  readonly shown: readonly MeasuredEntry[];
  readonly measured?: readonly MeasuredEntry[];
  readonly runtime?: string;
};

/** All of one recorded boot, with what its kernel measured since. */
export const runtimeAttacks: readonly Attack[] = (
  [
    {
      name: 'control-runtime',
      rows: [],
      attack: 'none: the same boot, and all that its kernel measured since',
      made: 'the control with its own list, PCR 10 extended by all of it',
      shown: ran,
      expected: trusted(),
    },
    {
      name: '43-revoked-file',
      rows: [43],
      attack: 'a program runs that was good once, and whose reference is revoked',
      made: 'the control of runtime, and an entry of that program',
      shown: [...ran, file(revokedFile.path)],
      expected: untrusted('revoked_reference'),
    },
    {
      name: '46-list-longer',
      rows: [46],
      attack: 'none: a program ran after the quote, and the list is read a moment later',
      made: 'the control of runtime, and entries that are not in PCR 10',
      shown: [...ran, file(unknown), file('/usr/bin/another')],
      measured: ran,
      expected: trusted(),
    },
    {
      name: '46-list-shorter',
      rows: [46],
      attack: 'the last entry of the list is withheld',
      made: 'the control of runtime with an entry in PCR 10 that is not shown',
      shown: ran,
      measured: [...ran, file(unknown)],
      expected: untrusted('boot_remeasured', 'ima_incomplete'),
    },
    {
      name: '46-entry-taken-out',
      rows: [46],
      attack: 'an entry is taken out of the middle of the list',
      made: 'the control of runtime with an entry in PCR 10 that is not shown',
      shown: ran,
      measured: [...ran.slice(0, 50), file(unknown), ...ran.slice(50)],
      expected: untrusted('boot_remeasured', 'ima_incomplete'),
    },
    {
      name: '47-violation',
      rows: [47],
      attack: 'a program is written to while it is measured, so that nobody knows what ran',
      made: 'the control of runtime, and an entry without a digest, which extends 0xff',
      shown: [...ran, violationOf(unknown)],
      runtime: 'violations: fail',
      expected: untrusted('ima_violation'),
    },
    {
      name: '47-violation-told',
      rows: [47],
      attack: 'the same of a log that root reads, under a policy that says nothing of it',
      made: 'the control of runtime, and an entry without a digest, which extends 0xff',
      shown: [...ran, violationOf('/var/log/wtmp')],
      expected: trusted('ima_violation'),
    },
    {
      name: '47-violation-hides',
      rows: [47],
      attack: 'an entry of an unknown program is shown as a violation, so that nobody sees its digest',
      made: 'the control of runtime with another entry in PCR 10 than the one without a digest that is shown',
      shown: [...ran, violationOf(unknown)],
      measured: [...ran, file(unknown)],
      expected: untrusted('boot_remeasured', 'ima_incomplete'),
    },
    {
      name: '48-unknown-template',
      rows: [48],
      attack: 'an entry has a template that nobody knows, so that what it says cannot be read',
      made: 'the control of runtime, and an entry of the template ima-secret, in PCR 10 as well',
      shown: [...ran, withTemplate(unknown, 'ima-secret')],
      expected: untrusted('ima_malformed'),
    },
    {
      name: '49-unknown-file',
      rows: [49],
      attack: 'a program runs that is in no reference',
      made: 'the control of runtime, and an entry of that program',
      shown: [...ran, file(unknown)],
      expected: untrusted('ima_unknown_file'),
    },
    {
      name: '49-replaced-file',
      rows: [49],
      attack: 'a program of the reference runs with other content',
      made: 'the control of runtime, an entry of it with another digest',
      shown: replaced(6, file('/usr/bin/bash')),
      expected: untrusted('ima_unknown_file'),
    },
    {
      name: '49-denied-file',
      rows: [49],
      attack: 'a program runs that the policy denies, whoever knows it',
      made: 'the control of runtime, and an entry of a program that the reference knows at another path',
      shown: [...ran, measuredEntry({ digest: knownContent, name: '/usr/bin/denied' })],
      runtime: 'deny: [/usr/bin/denied]',
      expected: untrusted('ima_denied_file'),
    },
    {
      name: '110-narrower-policy',
      rows: [110],
      attack: 'root loads an IMA policy that measures less than the one of the command line',
      made: 'the control of runtime, and an entry of a policy file that a reference knows to cover programs alone',
      shown: [...ran, file(narrowPolicy.path)],
      expected: untrusted('ima_policy_weak'),
    },
  ] satisfies readonly RuntimeAttack[]
).map(
  ({ shown, measured, runtime, ...attack }: RuntimeAttack): Attack => ({
    ...attack,
    moment: { log, ima: { shown, ...(measured !== undefined && { measured }) } },
    base: 'runtime',
    runtime: runtime === undefined ? [rulesOfRuntime] : [rulesOfRuntime, runtime],
    expected: attack.expected,
  }),
);
