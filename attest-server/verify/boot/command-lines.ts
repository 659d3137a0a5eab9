import type { VouchedText } from './boot-state.ts';
import { digestsOf } from './known-digests.ts';
import { loaderText } from './loader-text.ts';
import type { Boundaries } from './separators.ts';
import { hasDigest, type KnownDigest, type LoaderText, type VouchedLog } from './vouched-log.ts';

/** A command line as the kernel gets it, with the event in which a loader wrote it. */
export interface CommandLine extends VouchedText {
  /** What the kernel's EFI stub then measures of it. */
  readonly options: KnownDigest;
  readonly loadOptions: string;
}

/**
 * The command lines that a loader measured as text, each once. All of them count: whoever has the TPM can add one
 * later, and nobody can take one away.
 */
export function commandLines(vouched: VouchedLog, boundaries: Boundaries): readonly CommandLine[] {
  const end = boundaries.bootServicesLeft ?? vouched.log.raw.count;
  const lines = new Map<string, CommandLine>();
  for (let event = 0; event < end; event++) {
    const text = loaderText(vouched, event);
    if (text === null || text.arguments === null || lines.has(text.arguments)) continue;
    lines.set(text.arguments, commandLine(vouched, event, text, text.arguments));
  }
  return [...lines.values()];
}

function commandLine({ banks }: VouchedLog, event: number, { image }: LoaderText, text: string): CommandLine {
  // GRUB hands over its own line without a NUL, systemd-boot and the firmware with one.
  const loadOptions = image === null ? text : `BOOT_IMAGE=${image} ${text}`;
  const bytes = Buffer.from(image === null ? `${loadOptions}\0` : loadOptions, 'utf16le');
  return { event, text, loadOptions, options: digestsOf(bytes, banks) };
}

/** The load options of which an event holds the digest; null where no measured line gives it. */
export function loadOptionsOf(
  vouched: VouchedLog,
  event: number,
  lines: readonly CommandLine[],
): string | null {
  return lines.find(({ options }) => hasDigest(vouched, event, options))?.loadOptions ?? null;
}
