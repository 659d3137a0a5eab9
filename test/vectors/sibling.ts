import { hash } from 'node:crypto';
import { pcrBanks } from '../../attest-server/protocol/messages.ts';
import type { LogEvent } from '../../attest-server/verify/tpm/event-log.ts';
import { rewriteLog } from '../../swtpm-fixtures/rewrite-log.ts';
import { dataOf, eventsWhere, measuredSpan, remeasured } from './log-surgery.ts';

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/**
 * The same boot on another machine of the same make and set-up: other UUIDs in GRUB's commands, its configuration
 * files and the partition table, another boot order and other ACPI tables (PCR 1), an initrd built on that machine.
 */
export function siblingOf(log: Buffer): Buffer {
  const events = eventsWhere(log, () => true);
  let sibling = log;
  for (const event of events) {
    const { index, pcr } = event;
    if (pcr === 1 && event.type !== 'EV_SEPARATOR') sibling = otherwise(sibling, event);
    if (pcr === 5 && event.type === 'EV_EFI_GPT_EVENT') sibling = otherwise(sibling, event);
    if (pcr === 9 && (/\.cfg$|grubenv$/.test(event.describes) || event.stage === 'initrd'))
      sibling = rewriteLog(sibling, new Map([[index, { digest: otherDigests(event) }]]));
    if (pcr === 8) sibling = withOtherUuids(sibling, index);
  }
  return sibling;
}

function otherwise(log: Buffer, event: LogEvent): Buffer {
  const { index, type, verified, describes } = event;
  if (!verified) return rewriteLog(log, new Map([[index, { digest: otherDigests(event) }]]));
  const data = dataOf(log, index);
  const { from, to } = measuredSpan(log, index);
  if (describes.startsWith('BootOrder')) data.subarray(to - 4, to).swap16();
  else data.fill(0x77, type === 'EV_EFI_GPT_EVENT' ? 56 : to - 24, type === 'EV_EFI_GPT_EVENT' ? 72 : to - 8);
  return remeasured(log, index, data, data.subarray(from, to));
}

function otherDigests({ index }: Pick<LogEvent, 'index'>) {
  return Object.fromEntries(pcrBanks.map((bank) => [bank, hash(bank, `of another machine ${index}`, 'hex')]));
}

function withOtherUuids(log: Buffer, index: number): Buffer {
  const text = dataOf(log, index).toString('latin1');
  const next = text.replace(uuid, (found) =>
    [...found]
      .reverse()
      .join('')
      .replace(/^(.{12})-(.{4})-(.{4})-(.{4})-(.{8})$/, '$5-$4-$3-$2-$1'),
  );
  if (next === text) return log;
  const { from, to } = measuredSpan(log, index);
  const data = Buffer.from(next, 'latin1');
  return remeasured(log, index, data, data.subarray(from, to));
}
