import { parseEventLog } from '../attest-server/verify/tpm/event-log.ts';
import { type PcrBank, pcrBanks } from '../attest-server/wire/messages.ts';
import type { SoftwareTpm, StartupLocality } from './tpm.ts';

/** PCRs that firmware and operating system may extend from locality 0; 17 to 22 belong to a dynamic launch. */
const extendable = (pcr: number): boolean => pcr <= 16 || pcr === 23;

/**
 * Boots a software TPM as a recorded machine did: cuts the power, starts up from the locality that the log
 * names, and extends every event into all banks that log and TPM share, so that quotes agree with the log.
 * @throws Error where a PCR does not hold what the log replays to afterwards, or no bank is shared
 */
export async function bootTpm(tpm: SoftwareTpm, log: Buffer, options: BootOptions = {}): Promise<void> {
  const parsed = parseEventLog(log);
  await tpm.powerCycle({
    orderly: options.orderly ?? false,
    startupLocality: localityOf(parsed.startupLocality),
  });
  const commands = await tpm.commands();
  try {
    const allocated: PcrBank[] = [];
    for (const bank of pcrBanks) {
      if (parsed.banks[bank] && (await commands.readPcr(bank, 0)) !== null) allocated.push(bank);
    }
    if (allocated.length === 0) {
      throw new Error(
        `the log has banks ${Object.keys(parsed.banks).join(', ')}, of which the TPM has allocated none`,
      );
    }
    for (const event of parsed.events) {
      // EV_NO_ACTION describes the log itself; it was never extended.
      if (event.type === 'EV_NO_ACTION' || !extendable(event.pcr)) continue;
      const digests = allocated.flatMap((bank) => {
        const digest = event.digests[bank];
        return digest === undefined ? [] : [[bank, digest] as const];
      });
      if (digests.length > 0) await commands.extend(event.pcr, Object.fromEntries(digests));
    }
    for (const bank of allocated) {
      for (const [pcr, expected] of Object.entries(parsed.banks[bank] ?? {})) {
        const actual = extendable(Number(pcr)) ? await commands.readPcr(bank, Number(pcr)) : expected;
        if (actual !== expected) {
          throw new Error(
            `after the boot ${bank} PCR ${pcr} is ${actual}, but the log replays to ${expected}`,
          );
        }
      }
    }
  } finally {
    await commands.close();
  }
}

export interface BootOptions {
  /** The operating system shut down before; else the power was cut. Default false. */
  readonly orderly?: boolean;
}

/** The banks that a log carries, in the order in which banks are always named. */
export function banksOf(log: Buffer): readonly PcrBank[] {
  const { banks } = parseEventLog(log);
  return pcrBanks.filter((bank) => banks[bank] !== undefined);
}

function localityOf(locality: number | null): StartupLocality {
  if (locality === null || locality === 0) return 0;
  if (locality === 3) return 3;
  throw new Error(`a log of startup locality ${locality} cannot be replayed onto a software TPM`);
}
