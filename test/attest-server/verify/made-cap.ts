import { hash } from 'node:crypto';
import { type BootCap, type CapState, readCap } from '../../../attest-server/verify/boot-cap.ts';
import { parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { parseUserSpaceLog } from '../../../attest-server/verify/tpm/user-space-log.ts';
import { capDigest, capPcr } from '../../../attest-server/wire/cap.ts';
import { bankBytes, type PcrBank } from '../../../attest-server/wire/messages.ts';
import type { PcrValues } from '../../../attest-server/wire/pcr-values.ts';
import { event, header } from './tpm/log-builder.ts';

export const banks = ['sha1', 'sha256', 'sha384'] as const satisfies readonly PcrBank[];

/** A text that is measured into PCR 15, or the cap. */
export type Extended = string | typeof cap;
export const cap = Symbol('cap');

/** PCR 15 of one bank, extended by each of these. */
export function pcr15(bank: PcrBank, extended: readonly Extended[]): Buffer {
  return extended.reduce(
    (value, one) => hash(bank, Buffer.concat([value, digestOf(bank, one)]), 'buffer'),
    Buffer.alloc(bankBytes[bank]),
  );
}

function digestOf(bank: PcrBank, one: Extended): Buffer {
  return one === cap ? capDigest(bank) : hash(bank, one, 'buffer');
}

/** All 24 PCRs of which 15 has this value, and the others none. */
function quotedWith(bank: PcrBank, value: Buffer): PcrValues {
  const values = Buffer.alloc(24 * bankBytes[bank]);
  value.copy(values, capPcr * bankBytes[bank]);
  return { bank, mask: 0xffffff, values };
}

/** systemd's log of what it extended PCR 15 by; whoever wrote it may have put the cap among it. */
export function userSpaceLog(extended: readonly Extended[], carried: readonly PcrBank[] = banks): Buffer {
  const records = extended.map((one) => {
    const digests = carried.map((bank) => ({
      hashAlg: bank,
      digest: digestOf(bank, one).toString('hex'),
    }));
    const content = one === cap ? {} : { content: { eventType: 'machine-id', string: one } };
    return `\x1e${JSON.stringify({ pcr: capPcr, digests, ...content })}\n`;
  });
  return Buffer.from(records.join(''));
}

/** A firmware's log with these events of PCR 15 alone. */
function firmwareLog(texts: readonly string[]): Buffer {
  return Buffer.concat([header(banks), ...texts.map((text) => event(capPcr, 13, Buffer.from(text), banks))]);
}

export interface Logs {
  /** Texts that the firmware measured; null: it has no log. */
  readonly firmware?: readonly string[] | null;
  readonly userSpace?: readonly Extended[];
  readonly carried?: readonly PcrBank[];
}

/** @param extended what each bank was extended by */
export function capOf(
  extended: Readonly<Partial<Record<PcrBank, readonly Extended[]>>>,
  { firmware = null, userSpace, carried }: Logs = {},
): BootCap {
  const quoted = banks.flatMap((bank) => {
    const its = extended[bank];
    return its === undefined ? [] : [quotedWith(bank, pcr15(bank, its))];
  });
  return readCap(
    firmware === null ? null : parseEventLog(firmwareLog(firmware)),
    quoted,
    userSpace === undefined ? null : parseUserSpaceLog(userSpaceLog(userSpace, carried)),
  );
}

/** The same in every bank: the state that all have; null if they differ. */
export function stateOf(extended: readonly Extended[], logs: Logs = {}): CapState | null {
  const read = capOf({ sha1: extended, sha256: extended, sha384: extended }, logs);
  const states = new Set(read.values().map(({ state }) => state));
  const [state = null] = states;
  return states.size === 1 ? state : null;
}
