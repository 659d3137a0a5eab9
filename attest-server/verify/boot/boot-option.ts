import { variableValue } from '../tpm/efi-structures.ts';
import { eventType } from '../tpm/event-types.ts';
import { loadOption } from '../tpm/load-option.ts';
import { digestsOf } from './known-digests.ts';
import type { KnownDigest, VouchedLog } from './vouched-log.ts';

/** The load options that the firmware hands to what it starts, from the boot variable. */
export interface FirmwareLoadOptions {
  readonly text: string;
  readonly digests: KnownDigest;
}

/** More boot options than this are not looked at: the sender chooses how many there are. */
const mostOptions = 64;

/**
 * The load options of each boot variable in the log. A kernel that the firmware starts itself has its command line there, and
 * measures it; the text is as good as that digest, whatever else is wrong with the event that it was found in.
 */
export function handedOverByFirmware({
  log: { bytes, raw },
  banks,
}: VouchedLog): readonly FirmwareLoadOptions[] {
  const found: FirmwareLoadOptions[] = [];
  for (let event = 0; event < raw.count && found.length < mostOptions; event++) {
    if (raw.types[event] !== eventType.variableBoot && raw.types[event] !== eventType.variableBoot2) continue;
    const value = variableValue(bytes, raw.dataOffsets[event]!, raw.ends[event]!);
    const data = value && loadOption(value)?.data;
    if (data && data.length >= 4)
      found.push({ text: data.toString('utf16le').replace(/\0+$/, ''), digests: digestsOf(data, banks) });
  }
  return found;
}
