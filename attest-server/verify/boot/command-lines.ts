import { logBankBytes } from '../tpm/algorithms.ts';
import { stubTags } from '../tpm/event-stage.ts';
import { eventType } from '../tpm/event-types.ts';
import { handedOverByFirmware } from './boot-option.ts';
import type { VouchedText } from './boot-state.ts';
import { digestsOf } from './known-digests.ts';
import { loaderText } from './loader-text.ts';
import type { Boundaries } from './separators.ts';
import { commandLineSection, unifiedPcr } from './unified-image.ts';
import { hasDigest, isVouched, type KnownDigest, type LoaderText, type VouchedLog } from './vouched-log.ts';

/** A command line as the kernel gets it, with the event that vouches for it. */
export interface CommandLine extends VouchedText {
  /** The digest that the kernel's EFI stub then measures of it. */
  readonly options: KnownDigest;
  readonly loadOptions: string;
}

/**
 * The command lines whose text is vouched for, each once: those that a loader measured as text, and those of which the
 * kernel measured the digest and the firmware's boot options have the text. All of them count: whoever has the TPM can add
 * one later, and nobody can take one away.
 */
export function commandLines(vouched: VouchedLog, boundaries: Boundaries): readonly CommandLine[] {
  const end = boundaries.bootServicesLeft ?? vouched.log.raw.count;
  const lines = new Map<string, CommandLine>();
  const stubs: number[] = [];
  for (let event = 0; event < end; event++) {
    if (isLoadOptions(vouched, event)) stubs.push(event);
    const text = loaderText(vouched, event);
    if (text === null || text.arguments === null || lines.has(text.arguments)) continue;
    lines.set(text.arguments, commandLine(vouched, event, text, text.arguments));
  }
  const known = [...lines.values()];
  const find = loadOptionsAmong(vouched, known);
  const unknown = stubs.find((event) => find(event) === null);
  return unknown === undefined ? known : [...known, ...ofFirmware(vouched, unknown)];
}

/** Where Linux's EFI stub measures its load options. */
const stubPcr = 9;

function isLoadOptions(vouched: VouchedLog, event: number): boolean {
  const { bytes, raw } = vouched.log;
  if (raw.types[event] !== eventType.eventTag || raw.pcrs[event] !== stubPcr) return false;
  const from = raw.dataOffsets[event]!;
  const tag = raw.ends[event]! - from >= 4 ? bytes.readUInt32LE(from) : 0;
  return tag === stubTags.loadOptions && isVouched(vouched, event);
}

/**
 * The command line that a node says it was booted with, where the kernel or its unified image measured it: what somebody
 * says is as good as the digest that it gives. Null if no event holds its digest.
 */
export function saidCommandLine(
  vouched: VouchedLog,
  { bootServicesLeft }: Boundaries,
  said: string,
): CommandLine | null {
  if (said === '') return null;
  const end = bootServicesLeft ?? vouched.log.raw.count;
  const options = digestsOfText(vouched, said, 'utf16le', ['\0', '']);
  const sections = digestsOfText(vouched, said, 'utf8', ['', '\0', '\n']);
  for (const [known, holds] of [
    [options, isLoadOptions],
    [sections, isSection],
  ] as const)
    for (let event = 0; event < end; event++) {
      if (!holds(vouched, event)) continue;
      const digests = known.find((one) => hasDigest(vouched, event, one));
      if (digests !== undefined) return { event, text: said, loadOptions: said, options: digests };
    }
  return null;
}

function digestsOfText(
  { banks }: VouchedLog,
  text: string,
  encoding: 'utf8' | 'utf16le',
  ends: readonly string[],
): readonly KnownDigest[] {
  return ends.map((end) => digestsOf(Buffer.from(text + end, encoding), banks));
}

/** The stub measures a section's name before what it holds; order within a PCR is vouched for. */
function isSection(vouched: VouchedLog, event: number): boolean {
  const { pcrs } = vouched.log.raw;
  if (pcrs[event] !== unifiedPcr || !isVouched(vouched, event)) return false;
  const before = pcrs.lastIndexOf(unifiedPcr, event - 1);
  return event > 0 && before >= 0 && hasDigest(vouched, before, commandLineSection);
}

function ofFirmware(vouched: VouchedLog, event: number): CommandLine[] {
  const handed = handedOverByFirmware(vouched).find(({ digests }) => hasDigest(vouched, event, digests));
  if (handed === undefined) return [];
  return [{ event, text: handed.text, loadOptions: handed.text, options: handed.digests }];
}

function commandLine({ banks }: VouchedLog, event: number, { image }: LoaderText, text: string): CommandLine {
  // GRUB hands over its own line without a NUL, systemd-boot and the firmware with one.
  const loadOptions = image === null ? text : `BOOT_IMAGE=${image} ${text}`;
  const bytes = Buffer.from(image === null ? `${loadOptions}\0` : loadOptions, 'utf16le');
  return { event, text, loadOptions, options: digestsOf(bytes, banks) };
}

/** Finds the load options of which an event holds the digest; null if no line of these gives it. */
export type FindLoadOptions = (event: number) => string | null;

/** By digest, since the sender chooses how many lines and how many events there are. */
export function loadOptionsAmong(vouched: VouchedLog, lines: readonly CommandLine[]): FindLoadOptions {
  const [bank] = vouched.banks;
  if (bank === undefined || lines.length === 0) return () => null;
  const byDigest = new Map(lines.map((line) => [line.options[bank]?.toString('latin1'), line]));
  return (event) => {
    const at = vouched.log.raw.digestOffsets[bank]?.[event] ?? 0;
    const line = byDigest.get(vouched.log.bytes.toString('latin1', at, at + logBankBytes[bank]));
    return line !== undefined && hasDigest(vouched, event, line.options) ? line.loadOptions : null;
  };
}
