import { hash } from 'node:crypto';
import type { BootState } from '../../../../attest-server/verify/boot/boot-state.ts';
import { asTheLogSays, bootState } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { type EventChange, rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { event, header } from '../tpm/log-builder.ts';

/** One event of a made boot. */
export interface MadeEvent {
  readonly pcr: number;
  readonly type: number;
  readonly data: Buffer;
  /** What the digest is of, where it is not of the data. */
  readonly measured?: Buffer;
}

export const types = {
  separator: 4,
  contents: 7,
  version: 8,
  ipl: 0x0d,
  tag: 6,
  config: 0x80000001,
  bootVariable: 0x80000002,
  application: 0x80000003,
  action: 0x80000007,
  authority: 0x800000e0,
} as const;

export const shimGuid = '50ab5d6046e00043abb63dd810dd8b23';
const globalGuid = '61dfe48bca93d211aa0d00e098032b8c';

/** UEFI_VARIABLE_DATA. */
export function variable(name: string, value: Buffer, guid: string = globalGuid): Buffer {
  const head = Buffer.alloc(32, guid, 'hex');
  head.writeBigUInt64LE(BigInt(name.length), 16);
  head.writeBigUInt64LE(BigInt(value.length), 24);
  return Buffer.concat([head, Buffer.from(name, 'utf16le'), value]);
}

export const secureBoot = (value: number): MadeEvent => ({
  pcr: 7,
  type: types.config,
  data: variable('SecureBoot', Buffer.of(value)),
});
export const separatorOf = (pcr: number, data: Buffer = Buffer.alloc(4)): MadeEvent => ({
  pcr,
  type: types.separator,
  data,
});
export const separators: readonly MadeEvent[] = [0, 1, 2, 3, 4, 5, 6].map((pcr) => separatorOf(pcr));
export const grub = (text: string): MadeEvent => ({
  pcr: 8,
  type: types.ipl,
  data: Buffer.from(`grub_cmd: ${text}\0`),
  measured: Buffer.from(text),
});
export const action = (pcr: number, text: string): MadeEvent => ({
  pcr,
  type: types.action,
  data: Buffer.from(text),
});
export const version: MadeEvent = { pcr: 0, type: types.version, data: Buffer.from('1.0\0', 'utf16le') };

const banks = ['sha1', 'sha256'] as const;

/** A crypto-agile log of these events; event 0 is its header. */
export function madeLog(events: readonly MadeEvent[]): Buffer {
  const whole = Buffer.concat([
    header(banks),
    ...events.map(({ pcr, type, data }) => event(pcr, type, data, banks)),
  ]);
  const changes = new Map<number, EventChange>();
  events.forEach(({ measured }, i) => {
    if (measured === undefined) return;
    const digest = { sha1: hash('sha1', measured), sha256: hash('sha256', measured) };
    changes.set(i + 1, { digest });
  });
  return rewriteLog(whole, changes);
}

/** The state of a boot with these events, everything in it vouched for. */
export function madeState(events: readonly MadeEvent[]): BootState {
  const log = parseEventLog(madeLog(events));
  return bootState(log, asTheLogSays(log));
}

/** Version, Secure Boot on, the separators: events 1, 2, 3 and 4 to 10. */
export const firmware: readonly MadeEvent[] = [version, secureBoot(1), separatorOf(7), ...separators];

/** The state of a boot whose log was altered in one event, index 0 being the header. */
export function altered(events: readonly MadeEvent[], at: number, change: EventChange): BootState {
  const log = parseEventLog(rewriteLog(madeLog(events), new Map([[at, change]])));
  return bootState(log, asTheLogSays(log));
}

/** Code and event of each problem. */
export function problemsOf({ problems }: BootState): (readonly [string, number | null])[] {
  return problems.map(({ code, event }) => [code, event] as const);
}

/** Code and event of each note. */
export function notesOf({ notes }: BootState): (readonly [string, number | null])[] {
  return notes.map(({ code, event }) => [code, event] as const);
}
