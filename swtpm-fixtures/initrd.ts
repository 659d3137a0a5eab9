import { parseEventLog } from '../attest-server/verify/tpm/event-log.ts';
import { digestsOf } from './remeasure.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

/** An initrd of one archive in the form newc, not packed: files by their path. */
export function madeInitrd(files: Readonly<Record<string, Buffer>>): Buffer {
  const entries = Object.entries(files).map(([path, bytes], index) => entry(path, bytes, index + 1));
  return Buffer.concat([...entries, entry('TRAILER!!!', Buffer.alloc(0), 0)]);
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

function entry(path: string, bytes: Buffer, inode: number): Buffer {
  const field = (value: number) => value.toString(16).padStart(8, '0');
  const mode = inode === 0 ? 0 : 0o100644;
  const numbers = [inode, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, path.length + 1, 0];
  const head = Buffer.from(`070701${numbers.map(field).join('')}${path}\0`, 'latin1');
  return Buffer.concat([padded(head), padded(bytes)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
