import { authenticodeDigests } from '../attest-server/verify/boot/pe-image.ts';
import { eventData } from '../attest-server/verify/tpm/event-data.ts';
import {
  eventBytes,
  type LogEvent,
  type ParsedLog,
  parseEventLog,
} from '../attest-server/verify/tpm/event-log.ts';
import { pcrBanks } from '../attest-server/wire/messages.ts';
import { headerBytes, madePe } from './made-pe.ts';
import { digestsOf } from './remeasure.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';
import { siblingLog } from './sibling.ts';

/** What GRUB starts once a machine was updated. */
export interface KernelUpdate {
  /** A PE image. */
  readonly kernel: Buffer;
  readonly initrd: Buffer;
  /** Version in the names of files and entries: as it was recorded, and as it is now. */
  readonly from?: string;
  readonly to?: string;
}

/** The log of the same machine with another kernel and initrd, in files that are called by another version. */
export function updatedLog(log: Buffer, { kernel, initrd, from, to }: KernelUpdate): Buffer {
  const named = (text: string) => (from === undefined ? text : text.replaceAll(from, to ?? from));
  const renamed = siblingLog(log, { text: named, configuration: true });
  const parsed = parseEventLog(renamed);
  const image = authenticodeDigests(kernel, pcrBanks);
  const changes = new Map<number, EventChange>();
  for (const event of parsed.events) {
    const { index, pcr, stage, type } = event;
    const data = type === 'EV_IPL' ? { data: Buffer.from(named(textOf(parsed, event))) } : {};
    if (pcr === 4 && stage === 'kernel') changes.set(index, { digest: image });
    if (pcr === 9 && stage === 'kernel') changes.set(index, { digest: digestsOf(() => kernel), ...data });
    if (pcr === 9 && stage === 'initrd') changes.set(index, { digest: digestsOf(() => initrd), ...data });
  }
  return rewriteLog(renamed, changes);
}

/** With its NUL. */
function textOf(log: ParsedLog, { index, type }: LogEvent): string {
  const bytes = eventBytes(log, index);
  return eventData(type, bytes).kind === 'text' ? bytes.toString('utf8') : '';
}

/** A boot, and the files on its disk that it was started from, by their paths below the root. */
export interface InstalledBoot {
  readonly log: Buffer;
  readonly files: Readonly<Record<string, Buffer>>;
}

/** The same with loaders that lie on the disk: a recording has their digests alone. */
export function installedBoot(log: Buffer, update: KernelUpdate & { readonly to: string }): InstalledBoot {
  const files: Record<string, Buffer> = {
    [`boot/vmlinuz-${update.to}`]: update.kernel,
    [`boot/initramfs-${update.to}.img`]: update.initrd,
  };
  const updated = updatedLog(log, update);
  const parsed = parseEventLog(updated);
  const changes = new Map<number, EventChange>();
  for (const { index, pcr, stage, type } of parsed.events) {
    if (pcr !== 4 || stage !== 'loader') continue;
    const data = eventData(type, eventBytes(parsed, index));
    const path = /\\EFI\\[\w\\.-]+\.efi/i.exec(data.describes)?.[0];
    if (path === undefined) continue;
    const image = madePe(true, [{ at: headerBytes, content: Buffer.from(path) }], Buffer.alloc(0));
    files[`boot/efi${path.replaceAll('\\', '/')}`] = image;
    changes.set(index, { digest: authenticodeDigests(image, pcrBanks) });
  }
  return { log: rewriteLog(updated, changes), files };
}
