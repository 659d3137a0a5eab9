import { parseEventLog } from '../attest-server/verify/tpm/event-log.ts';
import { file, newc } from './newc.ts';
import { digestsOf } from './remeasure.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

/** An initrd of one archive in the form newc, not packed: files by their path. */
export function madeInitrd(files: Readonly<Record<string, Buffer>>): Buffer {
  return newc(Object.entries(files).map(([path, bytes]) => file(path, bytes)));
}

/** The log of the same machine, had its loader read these images. The last one stands for all that are more. */
export function withInitrds(log: Buffer, images: readonly Buffer[]): Buffer {
  const changes = new Map<number, EventChange>();
  for (const { index } of parseEventLog(log).events.filter(({ stage }) => stage === 'initrd')) {
    const image = images[Math.min(changes.size, images.length - 1)];
    if (image !== undefined) changes.set(index, { digest: digestsOf(() => image) });
  }
  if (changes.size === 0) throw new Error('the log has no initrd');
  return rewriteLog(log, changes);
}
