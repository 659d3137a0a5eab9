import { hashPart } from '../../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../../attest-server/verify/measured-boot.ts';
import { parseEventLog, parseEventLogSoFar } from '../../../attest-server/verify/tpm/event-log.ts';
import { parseUserSpaceLog } from '../../../attest-server/verify/tpm/user-space-log.ts';
import { bankBytes, type PcrBank } from '../../../attest-server/wire/messages.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

const digestBytes: Readonly<Record<number, number>> = { 4: 20, 11: 32, 12: 48, 13: 64 };

/** Where events begin, as far as the log is one: of a crypto-agile log, whose first event is one of SHA-1. */
function eventsOf(bytes: Buffer): readonly number[] {
  const begins: number[] = [];
  let at = 0;
  const has = (count: number) => at + count <= bytes.length;
  const begin = () => begins.push(at);
  if (!has(32)) return begins;
  begin();
  const first = bytes.readUInt32LE(28);
  const isAgile = bytes.toString('latin1', 32, 47) === 'Spec ID Event03';
  at = 32 + first;
  while (has(12)) {
    const from = at;
    if (isAgile) {
      const count = bytes.readUInt32LE(at + 8);
      at += 12;
      for (let i = 0; i < Math.min(count, 8) && has(2); i++)
        at += 2 + (digestBytes[bytes.readUInt16LE(at)] ?? 32);
    } else at += 28;
    if (!has(4)) break;
    at += 4 + bytes.readUInt32LE(at);
    if (at > bytes.length) break;
    begins.push(from);
  }
  return begins;
}

const form = { kind: 'little-endian', records: eventsOf } as const;
const seeds = () => recordings('swtpm-fixtures/recorded/*/binary_bios_measurements');

export const eventLog: FuzzedParser = {
  sources: [
    'log-format',
    'event-log',
    'event-table',
    'event-data',
    'event-stage',
    'event-types',
    'event-verified',
    'efi-structures',
    'grub-text',
    'handoff-tables',
    'load-option',
    'log-notes',
    'partition-table',
    'replay',
    'shown-text',
    'signature-data',
    'signature-list',
    'variable-text',
    'cursor',
  ].map((name) => `attest-server/verify/tpm/${name}.ts`),
  form,
  most: 96 * 1024,
  seeds,
  parse: (bytes) => {
    const { log } = parseEventLogSoFar(bytes);
    const read = [log.events.length, log.notes.length];
    const { banks } = parseEventLog(bytes);
    return [read, Object.keys(banks)];
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(65),
};

const banks: readonly PcrBank[] = ['sha1', 'sha256', 'sha384', 'sha512'];

/** The log as a quote vouches for it: replayed onto the values to which it leads. */
export const bootState: FuzzedParser = {
  sources: [
    ...[
      'authority',
      'boot-option',
      'command-lines',
      'components',
      'consistency',
      'derive-boot-state',
      'known-digests',
      'loader-text',
      'replay-mismatch',
      'secure-boot-state',
      'separators',
      'shim-variables',
      'unified-image',
      'vouched-log',
    ].map((name) => `attest-server/verify/boot/${name}.ts`),
    ...['measured-boot', 'replay-onto-quote', 'vouched-pcrs', 'quoted-values'].map(
      (name) => `attest-server/verify/${name}.ts`,
    ),
  ],
  form,
  most: 64 * 1024,
  seeds,
  parse: (bytes) => {
    const log = parseEventLog(bytes);
    const bank = banks.find((name) => name !== 'sha1' && log.banks[name] !== undefined) ?? 'sha1';
    const replayed = log.banks[bank] ?? {};
    const size = bankBytes[bank];
    const values = Buffer.concat(
      Array.from({ length: 24 }, (_, pcr) =>
        replayed[pcr] === undefined ? Buffer.alloc(size) : Buffer.from(replayed[pcr], 'hex'),
      ),
    );
    return replayBoot(hashPart(bytes), [{ bank, mask: 0xff_ffff, values }]).state;
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(65),
};

export const userSpaceLog: FuzzedParser = {
  sources: ['attest-server/verify/tpm/user-space-log.ts'],
  form: { kind: 'text' },
  most: 64 * 1024,
  seeds: () => recordings('swtpm-fixtures/recorded/*/tpm2-measure.log'),
  parse: parseUserSpaceLog,
  isDeclared: isRejection,
  isPastHeader: isBeyond(100),
};
