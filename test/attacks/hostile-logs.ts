import { createHash, hash } from 'node:crypto';
import { parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { noAction } from '../../attest-server/verify/tpm/event-types.ts';
import { parseRawLog } from '../../attest-server/verify/tpm/log-format.ts';
import { digestsOf } from '../../swtpm-fixtures/remeasure.ts';
import { type EventChange, rewriteLog } from '../../swtpm-fixtures/rewrite-log.ts';
import { type Tampering, tamper } from '../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';

/** The boot that the reference of all machines is of. */
export const knownBoot = recordedLog('debian13-shim-grub');

/** A log of so many bytes more: an event that nothing measures, so that it leads to the PCRs that the log led to. */
export function padded(log: Buffer, bytes: number, seed: string): Buffer {
  const data = Buffer.alloc(bytes);
  data.write(seed);
  return Buffer.concat([log, event(0, noAction, Buffer.alloc(32), data)]);
}

/** As many events as a log may have, but for some: loads of images, each of another one. */
export function ofImageLoads(seed: string, count = 16_000): Buffer {
  const at = parseRawLog(knownBoot).ends[lastImageLoad()] ?? 0;
  const load = event(4, imageLoad, Buffer.alloc(32), noPath);
  const loads = Buffer.alloc(count * load.length, load);
  const digests = createHash('shake256', { outputLength: count * 32 })
    .update(seed)
    .digest();
  for (let index = 0; index < count; index++)
    digests.copy(loads, index * load.length + digestAt, index * 32, (index + 1) * 32);
  return Buffer.concat([knownBoot.subarray(0, at), loads, knownBoot.subarray(at)]);
}

function lastImageLoad(): number {
  const { events } = parseEventLog(knownBoot);
  return events.findLastIndex(({ type }) => type === 'EV_EFI_BOOT_SERVICES_APPLICATION');
}

/** EV_EFI_BOOT_SERVICES_APPLICATION, and UEFI_IMAGE_LOAD_EVENT with the end of a device path alone. PC Client PFP 1.06, section 10.2.3. */
const imageLoad = 0x80000003;
const noPath = Buffer.concat([Buffer.alloc(24), Buffer.from('04000000000000007fff0400', 'hex')]);

const digestAt = 14;

/** TCG_PCR_EVENT2 with a digest of SHA-256. */
function event(pcr: number, type: number, digest: Buffer, data: Buffer): Buffer {
  const head = Buffer.alloc(digestAt);
  head.writeUInt32LE(pcr, 0);
  head.writeUInt32LE(type, 4);
  head.writeUInt32LE(1, 8);
  head.writeUInt16LE(0x000b, 12);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(data.length);
  return Buffer.concat([head, digest, size, data]);
}

/** A boot against which as much is to be said as possible: of what was loaded nothing is known. */
export function strangeBoot(seed: string): Buffer {
  const tampered = (['kernel', 'cmdline', 'secureboot'] as const satisfies Tampering[]).reduce(
    tamper,
    knownBoot,
  );
  const { events } = parseEventLog(tampered);
  const changes = new Map<number, EventChange>();
  for (const { index, type } of events)
    if (contents.has(type)) changes.set(index, { digest: digestsOf(() => `${seed}${index}`) });
  return rewriteLog(tampered, changes);
}

/** Events whose digest is of something that the log does not hold. */
const contents: ReadonlySet<string> = new Set([
  'EV_S_CRTM_CONTENTS',
  'EV_EFI_PLATFORM_FIRMWARE_BLOB',
  'EV_EFI_PLATFORM_FIRMWARE_BLOB2',
  'EV_EFI_BOOT_SERVICES_APPLICATION',
  'EV_EFI_BOOT_SERVICES_DRIVER',
  'EV_EFI_RUNTIME_SERVICES_DRIVER',
  'EV_EFI_HANDOFF_TABLES',
  'EV_EFI_HANDOFF_TABLES2',
]);

export const digestOf = (bytes: Buffer): string => hash('sha256', bytes, 'hex');
