import type { LogEvent } from '../../attest-server/verify/tpm/event-log.ts';
import type { ReasonCode } from '../../attest-server/wire/reasons.ts';
import type { NodeState } from '../../attest-server/wire/verdict.ts';
import { aggregateEntry } from '../../swtpm-fixtures/ima-list.ts';
import { filesOf, siblingFile, withMadeFiles } from '../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { aggregateOf, replayedValues } from '../attest-server/policy/made-proof.ts';
import { ekAttributes, ekTemplate } from '../attest-server/verify/software-key.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { firstBoot, type Moment, otherBoot } from './evidence.ts';
import {
  append,
  dataOf,
  edited,
  eventsWhere,
  eventWhere,
  insertBefore,
  measuredSpan,
  noAction,
  remeasured,
  reordered,
  retyped,
  swapped,
  without,
  withoutKernel,
  withValue,
} from './log-surgery.ts';

/** One attack, and what a correct verifier answers. */
export interface Attack {
  readonly name: string;
  /** Rows of docs/attacks.md. */
  readonly rows: readonly number[];
  readonly attack: string;
  /** How it was made of recorded evidence, so that anybody can make it again. */
  readonly made: string;
  readonly moment: Moment;
  /** The recorded boot that the reference is captured from, or another one of vector.ts; default: debian13-shim-grub. */
  readonly base?: string;
  /** Rules of the group besides the reference; YAML, one line a rule. */
  readonly boot?: string;
  /** Rules of its aspect runtime, which is required then. */
  readonly runtime?: readonly string[];
  /** The node had sent a log before. */
  readonly sentBootLog?: boolean;
  /** In which form the evidence is written. Default the first one, so that it is judged for good. */
  readonly version?: 1 | 2;
  /** By aspect, what was remembered of the node before; of version 2 alone. */
  readonly memory?: Readonly<Record<string, unknown>>;
  readonly expected: { readonly state: NodeState; readonly codes: readonly ReasonCode[] };
}

const good = recordedLog('debian13-shim-grub');
const values = replayedValues(good, 'sha256');
const started = aggregateEntry('sha256', values);
/** PCR 9 lacked something when the kernel started, and has it since. */
const startedOtherwise = aggregateEntry('sha256', Buffer.from(values).fill(9, 9 * 32, 10 * 32));
const unified = recordedLog('debian13-sdboot-uki');
const debian11 = withMadeFiles(recordedLog('debian11-shim-grub'));
const fedora = withMadeFiles(recordedLog('fedora41-locality-3'));
const centos9 = recordedLog('centos9-shim-grub');
const entry = recordedLog('debian13-sdboot-entry');
const seen = { resetCount: 7, restartCount: 1, clock: '1000000000', bootId: firstBoot };
const type = { separator: 4, action: 0x80000007, authority: 0x800000e0, ipl: 0x0d, blob: 0x80000008 };

const isNamed = (name: string, { describes }: LogEvent) =>
  describes === name || [' ', ':', ','].some((sign) => describes.startsWith(`${name}${sign}`));
const variable = (name: string) => (event: LogEvent) =>
  event.type === 'EV_EFI_VARIABLE_DRIVER_CONFIG' && isNamed(name, event);
const named = (name: string) => (event: LogEvent) => isNamed(name, event);
const separatorOf = (pcr: number) => (event: LogEvent) => event.type === 'EV_SEPARATOR' && event.pcr === pcr;
const ofPcr = (pcr: number) => (event: LogEvent) => event.pcr === pcr && event.type !== 'EV_NO_ACTION';
const indices = (events: readonly LogEvent[]) => events.map(({ index }) => index);
const at = (holds: (event: LogEvent) => boolean) => eventWhere(good, holds).index;

/** The boot of Fedora’s GRUB with other commands. */
function grub(change: (line: string) => string): Buffer {
  return siblingLog(fedora, { text: change });
}

function ofFedora(log: Buffer): Moment {
  return { log, files: [...filesOf(log).values()] };
}

function withMoreEntries(log: Buffer): Buffer {
  const [first] = eventsWhere(log, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.conf'));
  const name = '(hd5,gpt2)/loader/entries//one-more.conf';
  const event = { pcr: 9, type: type.ipl, data: Buffer.from(`${name}\0`), measured: siblingFile(name) };
  return insertBefore(log, first?.index ?? 0, event);
}

/** A boot of an entry whose options name the initrd; in the place of the stub's event stands one of another PCR. */
function withoutInitrd(pcr: number, type: number, data: Buffer): Buffer {
  const { index } = eventWhere(entry, ({ pcr: of, stage }) => of === 9 && stage === 'initrd');
  return insertBefore(without(entry, [index]), index, {
    pcr,
    type,
    data,
    measured: Buffer.from('an initrd'),
  });
}

const everyDifference = {
  firmwareSettings: true,
  configuration: true,
  initrd: true,
  text: (text: string) =>
    text.replaceAll('cfa927ec-bf7d-45e2-80bd-be4bda00859c', '0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9'),
};

const trusted = { state: 'trusted', codes: [] } as const;
const untrusted = (...codes: readonly ReasonCode[]) => ({ state: 'untrusted', codes }) as const;
const pending = (...codes: readonly ReasonCode[]) => ({ state: 'pending', codes }) as const;

const secureBootOff = (() => {
  const data = dataOf(good, at(variable('SecureBoot')));
  data[data.length - 1] = 0;
  return data;
})();

/** A value of an EFI variable with other bytes at its end. */
function changedVariable(name: string, change: (data: Buffer) => Buffer): Buffer {
  const index = at(variable(name));
  return remeasured(good, index, change(dataOf(good, index)));
}

/** An EFI_SIGNATURE_LIST of one SHA-256 digest that nobody else has. */
function foreignDigest(): Buffer {
  const list = Buffer.alloc(76);
  Buffer.from('2616c4c14c509240aca941f936934328', 'hex').copy(list, 0);
  list.writeUInt32LE(76, 16);
  list.writeUInt32LE(48, 24);
  list.fill(0xa5, 44);
  return list;
}

/** The first list of a db, its certificate's serial number changed: a key that the owner did not enrol. */
function foreignKey(old: Buffer): Buffer {
  const size = old.readUInt32LE(16);
  const list = Buffer.from(old.subarray(0, size));
  list[28 + 16 + 20] = (list[28 + 16 + 20] ?? 0) ^ 0x01;
  return Buffer.concat([old, list]);
}

/** A command line with one argument more, in every event that measures it. */
function withArgument(word: string): Buffer {
  let log = good;
  for (const { index } of eventsWhere(good, ({ stage, pcr }) => stage === 'cmdline' && pcr === 8)) {
    const data = dataOf(log, index);
    const { from, to } = measuredSpan(log, index);
    const next = Buffer.concat([data.subarray(0, to), Buffer.from(` ${word}`), data.subarray(to)]);
    log = remeasured(log, index, next, next.subarray(from, to + 1 + word.length));
  }
  return log;
}

/** Events where they stand, but for some that come later: right before the firmware is told to leave, in this order. */
function extendedLate(late: readonly number[]): Buffer {
  const leaving = at(named('Exit Boot Services Invocation'));
  const others = indices(eventsWhere(good, () => true)).filter((index) => !late.includes(index));
  const before = others.filter((index) => index < leaving);
  return reordered(good, [...before, ...late, ...others.filter((index) => index >= leaving)]);
}

/** All that shim and GRUB measured, and of a kernel what GRUB read of it. */
const ofLoaders = indices(
  eventsWhere(
    good,
    ({ index, pcr, type, stage }) =>
      index > at(separatorOf(7)) &&
      [4, 7, 8, 9, 14].includes(pcr) &&
      type !== 'EV_EVENT_TAG' &&
      !(pcr === 4 && (stage === 'kernel' || type !== 'EV_EFI_BOOT_SERVICES_APPLICATION')),
  ),
);

/** The kernel's command line measured again, with an argument more. */
function oneMoreLine(word: string): Buffer {
  const { index } = eventWhere(good, ({ describes }) => describes.startsWith('kernel_cmdline: '));
  const data = dataOf(good, index);
  const { from, to } = measuredSpan(good, index);
  const measured = Buffer.concat([data.subarray(from, to), Buffer.from(` ${word}`)]);
  const more = Buffer.concat([data.subarray(0, from), measured, data.subarray(to)]);
  return insertBefore(good, index + 1, { pcr: 8, type: type.ipl, data: more, measured });
}

/** GRUB's entries on this machine are a kernel and its initrd, and are read in their places. */
const evilKernel = Buffer.concat([
  Buffer.from('MZ'),
  Buffer.alloc(510, 0x90),
  Buffer.from('\0\0HdrS another kernel'),
]);
const evilInitrd = Buffer.concat([Buffer.of(0x1f, 0x8b, 8, 0), Buffer.from('another initrd')]);
const hidden = (() => {
  const entries = eventsWhere(fedora, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.conf'));
  const [one, other] = indices(entries);
  const first = remeasured(fedora, one ?? 0, dataOf(fedora, one ?? 0), evilKernel);
  return remeasured(first, other ?? 0, dataOf(fedora, other ?? 0), evilInitrd);
})();
const withOtherEntries = eventsWhere(
  fedora,
  ({ pcr, describes }) => pcr === 9 && /\.(?:conf|cfg)$/.test(describes),
).reduce(
  (log, { index, describes }) => remeasured(log, index, dataOf(fedora, index), siblingFile(describes)),
  fedora,
);
/** GRUB notes in its environment how the boot went, after it has measured it. */
const rewritten = (file: Buffer) =>
  file.toString('latin1').startsWith('# GRUB Environment Block')
    ? Buffer.from('# GRUB Environment Block\nboot_success=0\nboot_indeterminate=1\n'.padEnd(1024, '#'))
    : file;

const lastEvent = eventsWhere(good, () => true).at(-1)?.index ?? 0;

export const attacks: readonly Attack[] = [
  {
    name: 'control',
    rows: [],
    attack: 'none: the boot that the reference was captured from',
    made: 'the recorded log, its replayed PCR values quoted',
    moment: { log: good, previous: seen },
    expected: trusted,
  },
  {
    name: 'control-version-2',
    rows: [],
    version: 2,
    attack: 'none: the same boot, as evidence is exported now',
    made: 'the recorded log as a part with its digest, its replayed PCR values quoted',
    moment: { log: good, previous: seen },
    expected: trusted,
  },
  {
    name: '26-clock-rewind',
    rows: [26],
    attack: 'the TPM clock goes back within one reset',
    made: 'the same evidence, with a clock that was higher when last seen',
    moment: { log: good, previous: { ...seen, clock: '1000000001' } },
    expected: untrusted('clock_rewind', 'counter_rollback'),
  },
  {
    name: '27-reset-denied',
    rows: [27, 31],
    attack: 'the TPM was reset while the kernel says that it did not boot',
    made: 'the same boot id beside a reset count one lower when last seen',
    moment: { log: good, previous: { ...seen, resetCount: 6 } },
    expected: untrusted('boot_correlation', 'rebooted'),
  },
  {
    name: '28-reset-count-fell',
    rows: [28],
    attack: 'the reset counter fell: another TPM, or a restored snapshot of it',
    made: 'a reset count one higher when last seen',
    moment: { log: good, previous: { ...seen, resetCount: 8 } },
    expected: untrusted('counter_rollback'),
  },
  {
    name: '28-cleared-behind-resets',
    rows: [28],
    attack:
      'a cleared TPM is reset until its counter is high again; a firmware TPM that lost its power looks the same',
    made: 'a reset count two higher than last seen, with a clock of five seconds',
    moment: { log: good, resetCount: 9, clock: 5_000n, bootId: otherBoot, previous: seen },
    expected: { state: 'trusted', codes: ['rebooted'] },
  },
  {
    name: '29-suspended',
    rows: [29],
    attack: 'the machine was suspended and resumed, as no server is',
    made: 'a restart count one lower when last seen',
    moment: { log: good, restartCount: 2, clock: 1_000_000_500n, previous: seen },
    expected: { state: 'trusted', codes: ['resumed'] },
  },
  {
    name: '30-firmware-changed',
    rows: [30],
    attack: 'the firmware of the TPM changed without notice',
    made: 'another firmware version when last seen',
    moment: { log: good, previous: { ...seen, firmwareVersion: '2018010100120000' } },
    expected: { state: 'trusted', codes: ['tpm_firmware'] },
  },
  {
    name: '30-firmware-denied',
    rows: [30],
    attack: 'the TPM runs a firmware that policy denies',
    made: 'the version that the quote carries, on the deny list',
    boot: 'tpmFirmware: {deny: ["2019102300163636"]}',
    moment: { log: good, previous: seen },
    expected: untrusted('tpm_firmware'),
  },
  {
    name: '32-pcr-dropped',
    rows: [32],
    attack: 'every event of a PCR that was extended is left out of the log',
    made: 'all events of PCR 14 dropped, the PCR values as they were',
    moment: { log: without(good, indices(eventsWhere(good, ofPcr(14)))), booted: good },
    expected: untrusted('log_incomplete'),
  },
  {
    name: '33-tail-cut',
    rows: [33],
    attack: 'the end of the log is cut off',
    made: 'the last six events dropped, the PCR values as they were',
    moment: {
      log: without(
        good,
        Array.from({ length: 6 }, (_, back) => lastEvent - back),
      ),
      booted: good,
    },
    expected: untrusted('log_replay_mismatch'),
  },
  {
    name: '34-separator-retyped',
    rows: [34],
    attack:
      'the separator of PCR 7 is given another type, so that configuration and authorities run together',
    made: 'the type of that event rewritten to EV_EFI_ACTION; no digest covers it',
    moment: { log: retyped(good, at(separatorOf(7)), type.action) },
    expected: untrusted('unverified_event'),
  },
  {
    name: '34-kernel-as-action',
    rows: [34],
    attack: 'the image of a changed kernel is called an action of the firmware, which nobody compares',
    made: 'the kernel tampered with, its event in PCR 4 retyped to EV_EFI_ACTION',
    moment: {
      log: retyped(
        tamper(good, 'kernel'),
        eventWhere(good, ({ stage, pcr }) => stage === 'kernel' && pcr === 4).index,
        type.action,
      ),
    },
    expected: untrusted('unverified_event', 'kernel_unknown'),
  },
  {
    name: '35-secure-boot-edited',
    rows: [35],
    attack: 'Secure Boot is off, and the log says that it is on',
    made: 'Secure Boot switched off as a machine does; the data of its event then edited back, the digest kept',
    moment: {
      log: edited(
        remeasured(good, at(variable('SecureBoot')), secureBootOff),
        at(variable('SecureBoot')),
        dataOf(good, at(variable('SecureBoot'))),
      ),
    },
    expected: untrusted('event_data_mismatch'),
  },
  {
    name: '36-late-no-action',
    rows: [36],
    attack: 'an EV_NO_ACTION event that claims another startup locality is put in later',
    made: 'StartupLocality 3 put before the last event; it extends nothing',
    moment: {
      log: insertBefore(good, lastEvent, {
        pcr: 0,
        type: noAction,
        data: Buffer.from('StartupLocality\0\u0003', 'latin1'),
      }),
    },
    expected: trusted,
  },
  {
    name: '37-reordered',
    rows: [37],
    attack: 'events of different PCRs change places, which no digest shows',
    made: 'the separators of PCR 0 and 1 swapped, and the GPT event of PCR 5 with the image of PCR 4 after it',
    moment: {
      log: swapped(
        swapped(good, at(separatorOf(0))),
        at((event) => event.type === 'EV_EFI_GPT_EVENT'),
      ),
    },
    expected: trusted,
  },
  {
    name: '38-separator-missing',
    rows: [38],
    attack: 'a PCR ends without its separator: what stands behind it could be anybody’s',
    made: 'the separator of PCR 4 not measured',
    moment: { log: without(good, [at(separatorOf(4))]) },
    expected: untrusted('separator_error'),
  },
  {
    name: '38-separator-doubled',
    rows: [38],
    attack: 'a second separator moves the border between firmware and system',
    made: 'the separator of PCR 7 measured twice',
    moment: {
      log: insertBefore(good, at(separatorOf(7)), { pcr: 7, type: type.separator, data: Buffer.alloc(4) }),
    },
    expected: untrusted('separator_error'),
  },
  {
    name: '38-separator-error',
    rows: [38],
    attack: 'the firmware says that measuring failed',
    made: 'the separator of PCR 4 measured as 00000001',
    moment: { log: remeasured(good, at(separatorOf(4)), Buffer.of(1, 0, 0, 0)) },
    expected: untrusted('separator_error'),
  },
  {
    name: '39-secure-boot-twice',
    rows: [39],
    attack: 'a second SecureBoot event, put in by whoever started after the firmware, says that it is on',
    made: 'Secure Boot measured as off, and as on once more behind the separator of PCR 7',
    moment: {
      log: insertBefore(remeasured(good, at(variable('SecureBoot')), secureBootOff), at(separatorOf(7)) + 1, {
        pcr: 7,
        type: 0x80000001,
        data: dataOf(good, at(variable('SecureBoot'))),
      }),
    },
    boot: 'secureBoot: required',
    expected: untrusted('secureboot_ambiguous', 'secureboot_off'),
  },
  {
    name: '40-foreign-key',
    rows: [40],
    attack: 'a key of somebody else is enrolled in db',
    made: 'db measured with one certificate more',
    moment: { log: changedVariable('db', (data) => withValue(data, foreignKey)) },
    expected: untrusted('secureboot_policy'),
  },
  {
    name: '40-dbx-rolled-back',
    rows: [40],
    attack: 'the revocation list is an older one',
    made: 'dbx measured without its entries',
    moment: { log: changedVariable('dbx', (data) => withValue(data, () => Buffer.alloc(0))) },
    expected: untrusted('secureboot_policy'),
  },
  {
    name: '40-machine-owner-key',
    rows: [40],
    attack: 'a machine owner key is enrolled, so that shim starts what its holder signs',
    made: 'MokList measured with another content, into PCR 14 and PCR 7',
    moment: {
      log: remeasured(
        remeasured(good, at(named('MokList')), dataOf(good, at(named('MokList'))), foreignDigest()),
        at(named('MokListRT')),
        withValue(dataOf(good, at(named('MokListRT'))), () => foreignDigest()),
      ),
    },
    expected: untrusted('secureboot_policy'),
  },
  {
    name: '40-validation-off',
    rows: [40],
    attack: 'shim is told to check nothing (mokutil --disable-validation)',
    made: 'MokSBState measured as 01 into PCR 14 behind MokListTrusted',
    moment: {
      log: insertBefore(good, at(named('MokListTrusted')) + 1, {
        pcr: 14,
        type: type.ipl,
        data: Buffer.from('MokSBState\0'),
        measured: Buffer.of(1),
      }),
    },
    expected: untrusted('secureboot_policy'),
  },
  {
    name: '40-validation-off-retyped',
    rows: [40, 34],
    attack: 'shim is told to check nothing, and the log gives that switch the type of something else',
    made: 'MokSBState measured as 01 into PCR 14 behind MokListTrusted, which is 01 as well, as EV_COMPACT_HASH',
    moment: {
      log: insertBefore(good, at(named('MokListTrusted')) + 1, {
        pcr: 14,
        type: 0x0c,
        data: Buffer.from('MokListTrusted\0'),
        measured: Buffer.of(1),
      }),
    },
    expected: untrusted('secureboot_policy'),
  },
  ...['init=/bin/sh', 'ima=off', 'module.sig_enforce=0', 'iommu=off'].map((word): Attack => {
    const name = word.replace(/[^a-z]+/g, '-').replace(/-$/, '');
    return {
      name: `41-${name}`,
      rows: [41],
      attack: `the kernel's command line gains ${word}`,
      made: 'the argument added to both GRUB events of PCR 8 that carry the line',
      moment: { log: withArgument(word) },
      expected: untrusted('cmdline_policy'),
    };
  }),
  ...[
    ['quotes', 'opens quotes around all arguments', '/vmlinuz" '],
    ['argument', 'holds a byte 0xA0, which the kernel takes for a blank', '/vmlinuz\u00e0init=/bin/sh '],
    ['length', 'is so long that the kernel reads no argument behind it', `${'/boot'.repeat(420)}/vmlinuz `],
  ].map(
    ([name, what, image]): Attack => ({
      name: `41-${name}-in-image-name`,
      rows: [41],
      attack: `the name of the kernel's file, which nobody compares, ${what}`,
      made: 'the file renamed in every event that measures its name',
      moment: {
        log: siblingLog(good, { text: (text) => text.replaceAll('/vmlinuz ', image ?? '') }),
      },
      expected: untrusted('cmdline_policy'),
    }),
  ),
  {
    name: '41-line-feed',
    rows: [41],
    attack: 'a line feed in the command line, at which the EFI stub of the kernel ends it',
    made: 'a line feed put among the blanks before an argument',
    moment: { log: siblingLog(good, { text: (text) => text.replaceAll(' ima_policy', ' \nima_policy') }) },
    expected: untrusted('cmdline_policy'),
  },
  {
    name: '42-initrd-not-measured',
    rows: [42],
    attack: 'a known-good kernel is given an initrd that nothing measures',
    made: 'the events of the initrd in PCR 9, of GRUB and of the kernel’s stub, not measured; GRUB’s command stays',
    moment: { log: without(good, indices(eventsWhere(good, ({ stage }) => stage === 'initrd'))) },
    expected: untrusted('initrd_unmeasured'),
  },
  {
    name: '42-initrd-as-configuration',
    rows: [42, 34],
    attack:
      'a known-good kernel is given another initrd, and the log calls that a configuration file of the loader',
    made: 'another initrd measured into PCR 9 before the known one, under the name of a GRUB configuration file',
    moment: {
      log: insertBefore(good, eventWhere(good, named('/initrd.img')).index, {
        pcr: 9,
        type: type.ipl,
        data: Buffer.from('(hd0,gpt1)/EFI/debian/grub.cfg\0'),
        measured: Buffer.from('another initrd'),
      }),
    },
    expected: untrusted('bootloader_unknown'),
  },
  {
    name: '42-add-on',
    rows: [42],
    attack: 'a known-good unified kernel image is started with a system extension beside it',
    made: 'an extension measured into PCR 13 behind the sections of the image, as its stub does',
    base: 'debian13-sdboot-uki',
    moment: {
      log: insertBefore(unified, eventWhere(unified, named('LOADED_IMAGE::LoadOptions')).index, {
        pcr: 13,
        type: type.ipl,
        data: Buffer.from('System extension initrd\0', 'utf16le'),
        measured: Buffer.from('what the extension holds'),
      }),
    },
    expected: untrusted('initrd_unmeasured'),
  },
  {
    name: '44-late-boot-facts',
    rows: [44],
    attack: 'root forges boot facts by extending a boot loader’s PCR and adding the event to the log',
    made: 'a GRUB command put behind the end of the boot services in PCR 8, and extended',
    moment: {
      log: append(good, {
        pcr: 8,
        type: type.ipl,
        data: Buffer.from('grub_cmd: set superusers=root\0'),
        measured: Buffer.from('set superusers=root'),
      }),
    },
    expected: untrusted('unverified_event'),
  },
  {
    name: '45-kernel',
    rows: [45],
    attack: 'the kernel is another one, as with a data-collecting patch',
    made: 'the digests of the kernel in PCR 4 and PCR 9 replaced',
    moment: { log: tamper(good, 'kernel') },
    expected: untrusted('kernel_unknown'),
  },
  {
    name: '45-kernel-version-2',
    version: 2,
    rows: [45],
    attack: 'the kernel is another one, as with a data-collecting patch',
    made: 'the digests of the kernel in PCR 4 and PCR 9 replaced',
    moment: { log: tamper(good, 'kernel') },
    expected: untrusted('kernel_unknown'),
  },
  {
    name: '45-kernel-of-a-recorded-boot',
    rows: [45],
    attack: 'an older kernel with its initrd is booted',
    made: 'the recorded boot of kernel 6.12.117, beside the reference of 6.12.118',
    moment: { log: recordedLog('debian13-shim-grub-kernel') },
    expected: untrusted('kernel_unknown'),
  },
  {
    name: '84-power-lost-after-suspend',
    rows: [84],
    attack: 'none: power was lost, and the clock is not safe; both counters rose',
    made: 'reset and restart count lower when last seen, a clock a little higher, safe not set',
    moment: {
      log: good,
      resetCount: 8,
      restartCount: 2,
      clock: 999_000_000n,
      safe: false,
      bootId: otherBoot,
      previous: seen,
    },
    expected: { state: 'trusted', codes: ['rebooted'] },
  },
  {
    name: '99-kexec',
    rows: [99],
    attack: 'another kernel is started by kexec, which measures nothing',
    made: 'another boot id beside the same counters',
    moment: { log: good, bootId: otherBoot, clock: 1_000_000_500n, previous: seen },
    expected: pending('kexec_detected'),
  },
  {
    name: '99-kexec-possible',
    rows: [99],
    attack: 'kexec is neither locked down nor disabled: a warning',
    made: 'what the node says of kernel.kexec_load_disabled and of lockdown',
    moment: { log: good, host: { kexecLoadDisabled: false, lockdown: 'none' }, previous: seen },
    expected: { state: 'trusted', codes: ['kexec_possible'] },
  },
  {
    name: '100-clone',
    rows: [100],
    attack: 'a virtual TPM was cloned, and both machines answer: their clocks interleave',
    made: 'a clock lower than last seen, after it went back and on before',
    moment: { log: good, previous: { ...seen, clock: '1000000900', rewind: 'passed' } },
    expected: untrusted('clock_rewind', 'clone_suspected'),
  },
  {
    name: '103-cleared',
    rows: [103],
    attack: 'the TPM is cleared by somebody who has the device',
    made: 'counters and clock at their beginning, as TPM2_Clear leaves them',
    moment: { log: good, resetCount: 0, restartCount: 0, clock: 1_200n, previous: seen },
    expected: untrusted('counter_rollback'),
  },
  {
    name: '109-extended-by-a-pod',
    rows: [109],
    attack: 'a pod that has the device extends a PCR of the boot',
    made: 'PCR 7 extended once more after the boot, the log unchanged',
    moment: { log: good, extended: [[7, 'ab'.repeat(32)]] },
    expected: untrusted('log_replay_mismatch'),
  },
  {
    name: '113-sibling',
    rows: [113],
    attack: 'none: a sibling differs in UUIDs, PCR 1, boot order and a per-host initrd',
    made: 'boot variables, UUIDs of GRUB’s commands and its configuration files, and the initrd measured anew',
    base: 'debian11-shim-grub+files',
    version: 2,
    moment: {
      log: siblingLog(debian11, everyDifference),
      node: 'worker-2',
      files: [...filesOf(siblingLog(debian11, everyDifference)).values()],
    },
    boot: 'scope: {initrd: unpinned}',
    expected: { state: 'trusted', codes: ['initrd_unknown'] },
  },
  {
    name: '113-zero-byte-log',
    rows: [113],
    attack: 'none: a cloud gives a log of no bytes, and this node never sent one',
    made: 'no log at all',
    moment: { log: null, booted: good },
    expected: pending('no_boot_log'),
  },
  {
    name: '113-log-withheld',
    rows: [113],
    attack: 'a node that sent its log before withholds it',
    made: 'no log at all, from a node that is known to have one',
    moment: { log: null, booted: good },
    sentBootLog: true,
    expected: untrusted('log_incomplete'),
  },
  {
    name: 'control-boot-aggregate',
    rows: [],
    attack: 'none: the same boot, and the list of its kernel, whose first entry is over its PCRs 0 to 9',
    made: 'the control, PCR 10 extended by that entry',
    moment: { log: good, ima: { shown: [started] } },
    boot: 'aggregate: required',
    expected: trusted,
  },
  {
    name: '48-boot-aggregate-forged',
    rows: [48],
    attack: 'the first entry of the list is exchanged for one that fits the PCRs of now',
    made: 'the control, PCR 10 extended by an entry over another PCR 9, and the list of the control beside it',
    moment: { log: good, ima: { shown: [started], measured: [startedOtherwise] } },
    expected: untrusted('boot_remeasured'),
  },
  {
    name: '99-second-aggregate',
    rows: [99],
    attack:
      'kexec starts another kernel, which goes on with the list: no reset, so that all PCRs of the boot stay',
    made: 'control-boot-aggregate, PCR 10 extended by that entry once more, as a second kernel does',
    moment: { log: good, ima: { shown: [started, started] } },
    expected: pending('kexec_detected'),
  },
  {
    name: '132-extended-after-the-start',
    rows: [132],
    attack: 'what a good boot extends into PCR 9 is extended when the kernel runs already',
    made: 'the control, and a list whose first entry is over another PCR 9',
    moment: { log: good, ima: { shown: [startedOtherwise] } },
    expected: untrusted('boot_remeasured'),
  },
  {
    name: '133-list-demanded',
    rows: [133],
    attack: 'the list is withheld from a policy that demands it',
    made: 'the control',
    moment: { log: good },
    boot: 'aggregate: required',
    expected: pending('facts_unavailable'),
  },
  {
    name: '133-list-withheld',
    rows: [133],
    attack: 'a node that proved an earlier boot by its list withholds the list of this one',
    made: 'the control, and what is remembered of a node that has shown its list',
    moment: { log: good, previous: { ...seen, resetCount: 6, bootId: otherBoot } },
    version: 2,
    memory: {
      boot: {
        resetCount: 6,
        restartCount: 1,
        bootId: otherBoot,
        shown: aggregateOf(values, 'sha256'),
        gave: true,
      },
    },
    expected: pending('facts_unavailable'),
  },
  {
    name: '340-list-never-sent',
    rows: [340],
    attack: 'a node that never sent its list withholds it, where the captured boot gave this proof',
    made: 'the control',
    base: 'with-aggregate',
    moment: { log: good },
    expected: pending('facts_unavailable'),
  },
  {
    name: '133-covers-to-7',
    rows: [133],
    attack: 'the kernel is one that hashes PCRs 0 to 7 alone, so that PCRs 8 and 9 may be extended later',
    made: 'the control, PCR 10 extended by an entry over PCRs 0 to 7',
    moment: { log: good, ima: { shown: [aggregateEntry('sha256', values, 7)] } },
    boot: 'aggregate: required',
    expected: pending('facts_unavailable'),
  },
  {
    name: '133-sha1-aggregate',
    rows: [133],
    attack: 'the kernel is told to hash with SHA-1 (ima_hash=sha1), which no kernel does beyond PCR 7',
    made: 'the control, PCR 10 extended by an entry over PCRs 0 to 7 of the SHA-1 bank, which is not quoted',
    moment: { log: good, ima: { shown: [aggregateEntry('sha1', replayedValues(good, 'sha1'), 7)] } },
    boot: 'aggregate: required',
    expected: pending('facts_unavailable'),
  },
  {
    name: '116-ek-no-da',
    rows: [116],
    attack: 'a TPM shows its endorsement key in another form, so that it counts as another node',
    made: 'the public area of a low range key (L-2) with the attribute noDA',
    moment: { log: good, endorsementKey: { ...ekTemplate, attributes: ekAttributes | (1 << 10) } },
    expected: { state: 'unknown', codes: ['malformed'] },
  },
  {
    name: '116-ek-other-policy',
    rows: [116],
    attack: 'a TPM shows its endorsement key in another form, so that it counts as another node',
    made: 'the public area of a low range key (L-2) without its policy',
    moment: { log: good, endorsementKey: { ...ekTemplate, policy: '' } },
    expected: { state: 'unknown', codes: ['malformed'] },
  },
  {
    name: '135-no-kernel',
    rows: [135],
    attack:
      'a kernel is started by a way that measures none, from a boot like one that somebody took for good',
    made: 'the events of the kernel in PCR 4 and PCR 9 not measured; the reference is made of the same boot',
    base: 'without-kernel',
    moment: { log: withoutKernel(good) },
    expected: untrusted('kernel_unknown'),
  },
  {
    name: '134-initrd-elsewhere',
    rows: [134],
    attack:
      'an initrd that `initrd=` in an entry’s options names is measured by nothing, and the log calls so what the system extended into a PCR that nobody compares',
    made: 'the event of the initrd in PCR 9 not measured; one more in PCR 5 with the tag of the kernel’s stub',
    base: 'debian13-sdboot-entry',
    boot: 'scope: {initrd: unpinned}',
    moment: { log: withoutInitrd(5, 6, Buffer.from('ec223b8f0000000000000000', 'hex')) },
    expected: untrusted('initrd_unmeasured'),
  },
  {
    name: '134-initrd-as-section',
    rows: [134],
    attack: 'the same, called a section of a unified image in PCR 11, which no boot_aggregate covers',
    made: 'the event of the initrd in PCR 9 not measured; one more in PCR 11 with the name of such a section',
    base: 'debian13-sdboot-entry',
    boot: 'scope: {initrd: unpinned}',
    moment: { log: withoutInitrd(11, 13, Buffer.from('.initrd\0', 'utf16le')) },
    expected: untrusted('initrd_unmeasured'),
  },
  {
    name: '135-file-as-kernel',
    rows: [135, 34],
    attack:
      'in a boot without a kernel the log calls so a file that the reference has as one of the loader’s',
    made: 'the name of GRUB’s configuration file, where it is read for the second time, is that of a kernel; nothing else differs from the reference',
    base: 'without-kernel',
    moment: {
      log: edited(
        withoutKernel(good),
        eventsWhere(withoutKernel(good), named('(hd0,gpt1)/EFI/debian/grub.cfg'))[1]?.index ?? 0,
        Buffer.from('(hd0,gpt1)/vmlinuz\0'),
      ),
    },
    expected: untrusted('kernel_unknown'),
  },
  {
    name: '136-kernel-before-loader',
    rows: [136],
    attack:
      'the firmware starts the kernel itself; the system then extends what shim and GRUB would have measured, and puts it into the log before the end of the boot services',
    made: 'every event of shim and GRUB in PCR 4, 7, 8, 9 and 14 moved behind the kernel and what its stub measured',
    moment: { log: extendedLate(ofLoaders) },
    expected: untrusted('pcr_mismatch'),
  },
  {
    name: '136-before-boot-services-ended',
    rows: [136],
    attack:
      'a kernel that GRUB did not read; what GRUB would have read is extended later, and stands in the log before the end of the boot services',
    made: 'the files of GRUB in PCR 9 moved behind what the stub of the kernel measured there',
    moment: {
      log: extendedLate(indices(eventsWhere(good, ({ pcr, type }) => pcr === 9 && type === 'EV_IPL'))),
    },
    expected: untrusted('pcr_mismatch'),
  },
  {
    name: '136-pcr-8-reversed',
    rows: [136],
    attack: 'GRUB runs the known commands in another order',
    made: 'the events of PCR 8 in reverse order',
    moment: { log: extendedLate(indices(eventsWhere(good, ofPcr(8))).toReversed()) },
    expected: untrusted('pcr_mismatch'),
  },
  ...(
    [
      [
        'dbx-emptied',
        'dbx is empty',
        changedVariable('dbx', (data) => withValue(data, () => Buffer.alloc(0))),
      ],
      ['platform-key', 'PK is another one', changedVariable('PK', (data) => withValue(data, foreignKey))],
      [
        'other-mok-list',
        'MokList is another one',
        remeasured(good, at(named('MokList')), dataOf(good, at(named('MokList'))), foreignDigest()),
      ],
    ] as const
  ).map(
    ([name, what, log]): Attack => ({
      name: `138-${name}`,
      rows: [138],
      attack: `${what}, where a rule says who may sign and no reference knows the Secure Boot settings`,
      made: 'the variable measured with another value; the reference names none of PCR 7 and 14',
      base: 'without-secure-boot',
      boot: 'signers: ["*"]',
      moment: { log },
      expected: pending('no_reference'),
    }),
  ),
  {
    name: '138-db-hidden',
    rows: [138, 34],
    attack:
      'a foreign key in db is hidden from the rule on signers: the log calls db something whose content it need not hold',
    made: 'db measured with one certificate more; its event retyped to EV_COMPACT_HASH, its data replaced',
    base: 'without-secure-boot',
    boot: 'signers: ["*CN=Microsoft *", "CN=Debian Secure Boot CA"]',
    moment: {
      log: retyped(
        edited(
          changedVariable('db', (data) => withValue(data, foreignKey)),
          at(variable('db')),
          Buffer.from('nothing of interest'),
        ),
        at(variable('db')),
        0x0c,
      ),
    },
    expected: untrusted('unverified_event'),
  },
  {
    name: '139-revoked-initrd',
    rows: [139],
    attack: 'an initrd that was revoked boots, where the policy takes any initrd',
    made: 'the initrd measured as another one in PCR 9, by GRUB and by the kernel’s stub; a revoked reference of another kernel has it',
    base: 'revoked-initrd',
    boot: 'scope: {initrd: unpinned}',
    moment: { log: siblingLog(good, { initrd: true }) },
    expected: untrusted('revoked_reference'),
  },
  {
    name: '140-one-more-line',
    rows: [140],
    attack: 'root extends a command line with lockdown=integrity, so that nobody is warned of kexec',
    made: 'the line of GRUB’s event once more behind it, with that argument, which the policy allows',
    boot: 'cmdline: {allow: ["lockdown=*"]}',
    moment: {
      log: oneMoreLine('lockdown=integrity'),
      host: { kexecLoadDisabled: false, lockdown: 'none' },
      previous: seen,
    },
    expected: { state: 'trusted', codes: ['kexec_possible'] },
  },
  {
    name: '138-db-unreadable',
    rows: [138],
    attack: 'a db with a foreign key that ends in the middle of a list, so that it seems to hold nobody',
    made: 'db measured with one certificate and one byte more',
    boot: 'signers: ["*CN=Microsoft *", "CN=Debian Secure Boot CA"]',
    moment: {
      log: changedVariable('db', (data) =>
        withValue(data, (db) => Buffer.concat([foreignKey(db), Buffer.of(0)])),
      ),
    },
    expected: untrusted('secureboot_policy'),
  },
  {
    name: '141-resume',
    rows: [141],
    attack: 'a perfect boot, whose kernel then resumes an image from swap that root wrote',
    made: 'the recorded boot, whose command line has resume=; the policy forbids that',
    base: 'centos9-shim-grub',
    boot: 'cmdline: {resume: forbid}',
    moment: { log: recordedLog('centos9-shim-grub') },
    expected: untrusted('cmdline_policy'),
  },
  {
    name: '137-hidden',
    rows: [137],
    version: 2,
    attack: 'a changed kernel and its initrd in the places of two loader entries, their files withheld',
    made: 'two of Fedora’s entries in PCR 9 with the digests of an image and an archive; the other files are sent',
    base: 'fedora41-locality-3+files',
    moment: { log: hidden, files: [...filesOf(hidden).values()] },
    expected: untrusted('bootloader_unknown'),
  },
  {
    name: '137-shown',
    rows: [137],
    version: 2,
    attack: 'the same, and the files are sent',
    made: 'as 137-hidden, with the image and the archive among the files',
    base: 'fedora41-locality-3+files',
    moment: { log: hidden, files: [...filesOf(hidden).values(), evilKernel, evilInitrd] },
    expected: untrusted('bootloader_unknown'),
  },
  {
    name: '137-another-node',
    rows: [137],
    version: 2,
    attack: 'a file that nobody has seen counts for another node than the one whose reference has it',
    made: 'the boot of debian10-shim-grub, of which no file was recorded, on another node',
    base: 'debian10-shim-grub',
    moment: { log: recordedLog('debian10-shim-grub'), node: 'worker-2' },
    expected: untrusted('bootloader_unknown'),
  },
  {
    name: '137-own-node',
    rows: [137],
    attack: 'none: the same on the node of the reference',
    made: 'the boot of debian10-shim-grub, of which no file was recorded',
    base: 'debian10-shim-grub',
    moment: { log: recordedLog('debian10-shim-grub') },
    expected: trusted,
  },
  {
    name: '137-sibling',
    rows: [137],
    version: 2,
    attack: 'none: a sibling of Fedora’s with other entries, and its environment written since',
    made: 'every configuration file another one, and the environment block as a later boot leaves it',
    base: 'fedora41-locality-3+files',
    moment: {
      log: withOtherEntries,
      node: 'worker-2',
      files: [...filesOf(withOtherEntries).values()].map(rewritten),
    },
    expected: trusted,
  },
  {
    name: '143-another-version',
    rows: [143],
    version: 2,
    attack: 'a known kernel beside an initrd under the name of another version',
    made: 'another version in the command that names the initrd of Fedora',
    base: 'fedora41-locality-3+files',
    moment: ofFedora(grub((line) => line.replace('initramfs-6.11.5', 'initramfs-6.11.6'))),
    expected: untrusted('bootloader_unknown'),
  },
  {
    name: '143-two-disks',
    rows: [143],
    version: 2,
    attack: 'one command reads from another disk than the others',
    made: 'another number of a disk in the command that names the initrd of Fedora',
    base: 'fedora41-locality-3+files',
    moment: ofFedora(grub((line) => line.replace('initrd (hd3', 'initrd (hd0'))),
    expected: untrusted('bootloader_unknown'),
  },
  {
    name: '143-sibling',
    rows: [143],
    version: 2,
    attack: 'none: a sibling of Fedora’s whose disks have other numbers, with one more boot entry',
    made: 'another number of the disk in every command; a file more in PCR 9 before the first entry',
    base: 'fedora41-locality-3+files',
    moment: { ...ofFedora(withMoreEntries(grub((line) => line.replaceAll('hd3', 'hd5')))), node: 'worker-2' },
    expected: trusted,
  },
  {
    name: '215-line-not-shown',
    rows: [215],
    attack:
      'the log does not show the kernel’s command line, which a rule forbids and a reference from before that rule has',
    made: 'the data of the events of PCR 8 that carry the line made the name of a file, their digests kept',
    base: 'centos9-shim-grub',
    boot: 'cmdline: {forbid: ["resume=*"]}',
    moment: {
      log: eventsWhere(centos9, ({ pcr, stage }) => pcr === 8 && stage === 'cmdline').reduce(
        (log, { index }) => edited(log, index, Buffer.from('grub.cfg\0')),
        centos9,
      ),
    },
    expected: untrusted('cmdline_policy'),
  },
];
