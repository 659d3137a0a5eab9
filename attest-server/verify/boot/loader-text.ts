import { eventType } from '../tpm/event-types.ts';
import { grubLine, kernelLine } from '../tpm/grub-text.ts';
import { dataOf, isVouched, type VouchedLog } from './vouched-log.ts';

/** What a loader wrote into the log, where the event's digest is that of the text. */
export interface LoaderText {
  readonly kind: 'command' | 'cmdline';
  readonly text: string;
  /** The kernel's arguments; null for a text that is no command line. */
  readonly arguments: string | null;
  /** The image of the kernel as GRUB names it; null where the text does not say. */
  readonly image: string | null;
}

/** GRUB writes into PCR 8, and so did systemd-boot before it took PCR 12. */
const loaderPcrs: ReadonlySet<number> = new Set([8, 12]);

/** Null where the event is no such text, or where its digest is of something else. */
export function loaderText(vouched: VouchedLog, event: number): LoaderText | null {
  const measured = vouched.measured[event];
  if (!measured || !loaderPcrs.has(vouched.log.raw.pcrs[event]!) || !isVouched(vouched, event)) return null;
  const data = dataOf(vouched, event);
  if (isUtf16(data) && vouched.log.raw.types[event] === eventType.ipl) {
    const text = withoutNul(measured.toString('utf16le'));
    return { kind: 'cmdline', text, arguments: text, image: null };
  }
  const grub = grubLine(withoutNul(data.toString('utf8')));
  if (grub === null) return null;
  const kernel = kernelLine(grub);
  if (kernel === null) return { kind: 'command', text: grub.line, arguments: null, image: null };
  return { kind: 'cmdline', text: grub.line, arguments: kernel.arguments, image: kernel.image };
}

/** A command line of a few letters is enough to tell. */
function isUtf16(data: Buffer): boolean {
  return data.length >= 4 && data[0] !== 0 && data[1] === 0 && data[3] === 0;
}

function withoutNul(text: string): string {
  return text.endsWith('\0') ? text.slice(0, -1) : text;
}
