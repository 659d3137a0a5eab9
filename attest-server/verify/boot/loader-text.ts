import { eventType } from '../tpm/event-types.ts';
import { grubLine, grubPrefix, kernelLine } from '../tpm/grub-text.ts';
import { isVouched, type LoaderText, type VouchedLog } from './vouched-log.ts';

/** GRUB writes into PCR 8, and so did systemd-boot before it took PCR 12. */
const loaderPcrs: ReadonlySet<number> = new Set([8, 12]);

/** Null if the event is no such text, or where its digest is of something else. */
export function loaderText(vouched: VouchedLog, event: number): LoaderText | null {
  const known = vouched.loaderTexts[event];
  if (known !== undefined) return known;
  const text = readLoaderText(vouched, event);
  vouched.loaderTexts[event] = text;
  return text;
}

function readLoaderText(vouched: VouchedLog, event: number): LoaderText | null {
  const measured = vouched.measured[event];
  const { bytes, raw } = vouched.log;
  if (!measured || !loaderPcrs.has(raw.pcrs[event]!) || !isVouched(vouched, event)) return null;
  const [from, end] = [raw.dataOffsets[event]!, raw.ends[event]!];
  const prefix = grubPrefix(bytes, from, end);
  if (prefix === 0) {
    if (raw.types[event] !== eventType.ipl || !isUtf16(bytes, from, end)) return null;
    const text = withoutNul(measured.toString('utf16le'));
    return { kind: 'cmdline', text, arguments: text, image: null };
  }
  const grub = grubLine(withoutNul(bytes.toString('utf8', from, end)));
  const kernel = grub && kernelLine(grub);
  if (grub === null) return null;
  if (kernel === null) return { kind: 'command', text: grub.line, arguments: null, image: null };
  return { kind: 'cmdline', text: grub.line, arguments: kernel.arguments, image: kernel.image };
}

/** A command line of a few letters is enough to tell. */
function isUtf16(bytes: Buffer, from: number, end: number): boolean {
  return end - from >= 4 && bytes[from] !== 0 && bytes[from + 1] === 0 && bytes[from + 3] === 0;
}

function withoutNul(text: string): string {
  return text.endsWith('\0') ? text.slice(0, -1) : text;
}
