import { hash } from 'node:crypto';
import { bankBytes } from '../../attest-server/wire/messages.ts';
import { filesOf, withMadeFiles } from '../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { madeValues } from '../attest-server/verify/made-quote.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';

/** What a machine boots. */
export interface Booted {
  /** Null: its firmware left none, or a file of no bytes, which an agent reads as none. */
  readonly log: Buffer | null;
  /** The SHA-256 bank. */
  readonly pcrs: Buffer;
  /** What its loader read. */
  readonly files: readonly Buffer[];
}

/** One machine of a site that was there before Assay. */
export interface Machine extends Booted {
  readonly name: string;
  readonly tpm: 'discrete' | 'firmware' | 'uncertified' | 'none';
  readonly systemUuid: string;
  /** Its TPM begins its clock anew whenever power is lost. */
  readonly losesClock: boolean;
}

interface Kind {
  readonly count: number;
  readonly tpm?: Machine['tpm'];
  /** Of one machine of them. Default: none. */
  readonly log?: (index: number) => Buffer;
  /** Where the log does not lead to them. */
  readonly pcrs?: () => Buffer;
  readonly losesClock?: boolean;
  readonly oneUuid?: boolean;
}

const boot = (name: string) => withMadeFiles(recordedLog(name));
const withoutSecureBoot = (name: string) => tamper(boot(name), 'secureboot');

/** By the prefix of their names. Half of the 60 start without Secure Boot; none has IMA or verity. */
const kinds: Readonly<Record<string, Kind>> = {
  db: { count: 8, log: (index) => sibling(boot('debian13-shim-grub'), index) },
  store: { count: 6, log: (index) => sibling(boot('debian11-shim-grub'), index, true) },
  worker: {
    count: 10,
    tpm: 'firmware',
    log: (index) => sibling(withoutSecureBoot('centos9-shim-grub'), index),
    losesClock: true,
  },
  edge: { count: 4, log: () => recordedLog('debian13-uki-systemd') },
  twin: { count: 2, log: () => recordedLog('debian13-sdboot-entry'), oneUuid: true },
  // Virtual TPMs come without a certificate.
  cloud: { count: 10, tpm: 'uncertified', log: (index) => sibling(boot('rhel8-shim-grub'), index) },
  spot: {
    count: 6,
    tpm: 'uncertified',
    log: (index) => sibling(withoutSecureBoot('debian10-shim-grub'), index),
  },
  gpu: { count: 5, tpm: 'none' },
  train: { count: 4 },
  // Firmware with habits of its own: padding, a locality, another SHA-1 log beside a SHA-256 bank, another system.
  padded: { count: 1, log: () => recordedLog('rhel8-padded') },
  laptop: { count: 2, log: () => boot('fedora41-locality-3') },
  old: { count: 1, log: () => recordedLog('sha1-tpm12'), pcrs: () => madeValues(bankBytes.sha256) },
  other: { count: 1, log: () => recordedLog('windows-fewer-digests') },
};

/** 60 machines: cloud, metal and GPU. */
export function existingSite(): readonly Machine[] {
  return Object.entries(kinds).flatMap(([prefix, kind]) =>
    Array.from({ length: kind.count }, (_, index) =>
      machineOf(`${prefix}-${index + 1}`, prefix, index, kind),
    ),
  );
}

function machineOf(name: string, prefix: string, index: number, kind: Kind): Machine {
  const { tpm = 'discrete', losesClock = false, oneUuid = false } = kind;
  const log = kind.log?.(index) ?? null;
  const booted = bootedBy(log);
  return {
    ...booted,
    pcrs: kind.pcrs?.() ?? booted.pcrs,
    name,
    tpm,
    systemUuid: uuidOf(oneUuid ? prefix : name),
    losesClock,
  };
}

/** The machine `db-N` with the kernel of another update. */
export function updated(db: number): Booted {
  return bootedBy(sibling(boot('debian13-shim-grub-kernel'), db - 1));
}

function bootedBy(log: Buffer | null): Booted {
  return {
    log,
    pcrs: log === null ? madeValues(bankBytes.sha256) : replayedValues(log, 'sha256'),
    files: log === null ? [] : [...filesOf(log).values()],
  };
}

/** The first is the recorded machine. The others have identifiers, tables, boot order and configuration of their own. */
function sibling(log: Buffer, index: number, initrd = false): Buffer {
  if (index === 0) return log;
  return siblingLog(log, {
    text: (text) =>
      text.replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, (uuid) =>
        uuidOf(`${uuid} ${index}`),
      ),
    firmwareSettings: true,
    configuration: true,
    initrd,
  });
}

function uuidOf(of: string): string {
  const digits = hash('sha256', of, 'hex');
  return [8, 12, 16, 20, 32].map((end, at) => digits.slice([0, 8, 12, 16, 20][at], end)).join('-');
}
