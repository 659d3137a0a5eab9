import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../../protocol/messages.ts';
import { noAction } from './event-types.ts';
import { noPcr, type RawEvent, type RawLog } from './log-format.ts';

export interface StartupLocality {
  /** As the log says; null where it has no such event. */
  readonly locality: number | null;
  /** What PCR 0 holds in its last byte before the first extend. */
  readonly pcr0: number;
  /** Indices of EV_NO_ACTION events that claim a locality where none counts, or a value that cannot be. */
  readonly ignored: readonly number[];
}

const localityTag = Buffer.from('StartupLocality\0');
const hcrtmEvent = 0x80000010;

/**
 * Finds the locality of TPM2_Startup, which is what PCR 0 starts from. Only events before the first one that
 * extends are believed: one injected later would let a liar choose the start of PCR 0.
 * PC Client PFP 1.06, sections 10.4.5.3 and 3.3.2.1 (H-CRTM starts PCR 0 at 4).
 */
export function findStartupLocality(bytes: Buffer, log: RawLog): StartupLocality {
  let locality: number | null = null;
  const ignored: number[] = [];
  let extended = false;
  let hcrtm: boolean | null = null;
  for (const event of log.events) {
    if (event.type !== noAction) {
      extended = true;
      if (event.pcr === 0) hcrtm ??= event.type === hcrtmEvent;
      continue;
    }
    const size = event.end - event.dataOffset;
    if (size !== localityTag.length + 1) continue;
    if (localityTag.compare(bytes, event.dataOffset, event.end - 1) !== 0) continue;
    const value = bytes[event.end - 1] ?? 0;
    if (extended || locality !== null || ![0, 3, 4].includes(value)) ignored.push(event.index);
    else locality = value;
  }
  return { locality, pcr0: locality ?? (hcrtm ? 4 : 0), ignored };
}

/** True where the event goes into a PCR. */
export function extendsPcr(event: RawEvent): boolean {
  return event.type !== noAction && event.pcr !== noPcr;
}

/** Replays one bank: every PCR that the log extends in it, hex. TPM 2.0 Part 1 r1.59, section 17.2. */
export function replayBank(bytes: Buffer, log: RawLog, bank: PcrBank, pcr0: number): Record<number, string> {
  const size = bankBytes[bank];
  // One scratch of [old | new]: an extend hashes it whole.
  const scratch = Buffer.alloc(size * 2);
  const pcrs: Record<number, string> = {};
  for (const event of log.events) {
    if (!extendsPcr(event)) continue;
    for (const digest of event.digests) {
      if (digest.bank !== bank) continue;
      const old = pcrs[event.pcr];
      if (old === undefined) {
        scratch.fill(0, 0, size);
        if (event.pcr === 0) scratch[size - 1] = pcr0;
      } else scratch.write(old, 0, 'hex');
      bytes.copy(scratch, size, digest.offset, digest.offset + size);
      pcrs[event.pcr] = hash(bank, scratch, 'hex');
    }
  }
  return pcrs;
}
