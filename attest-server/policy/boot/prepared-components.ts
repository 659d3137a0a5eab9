import type { Reference } from '../../formats/reference.ts';
import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { FileContent } from '../../wire/loader-files.ts';
import type { PcrBank } from '../../wire/messages.ts';
import { type ParsedCommandLine, parseCommandLine } from '../command-line.ts';
import { comparedBanks, strongestDigest } from './compared-pcrs.ts';
import { type JudgedStage, judgedPcrs, judgedStage } from './judged-stage.ts';
import { versionOfReference, withoutVersion } from './kernel-version.ts';
import { comparedCommands, namesSeveralDisks } from './loader-commands.ts';
import { maskIdentifiers } from './masked-text.ts';
import { type MaskName, maskArgument } from './named-masks.ts';
import { definesMenu, hasPlace } from './only-read.ts';

/** A component of a reference, ready to be looked up. */
export interface ReferencedComponent {
  /** Same for components that one event of a boot stands for: a loader may run one command, or read one file, often. */
  readonly key: string;
  readonly stage: JudgedStage;
  /** Null: in any PCR that is judged. */
  readonly pcr: number | null;
  readonly kind: string | null;
  /** The kind of the file by its bytes, when it was captured; null if nobody saw them. */
  readonly content: FileContent | null;
  readonly digests: Reference['components'][number]['digests'];
  readonly description: string;
  /** Masked. */
  readonly text: string | null;
  readonly keys: NonNullable<Reference['components'][number]['keys']>;
  /** Where its like comes first in the boot that was captured; -1 where the order of its PCR says nothing. */
  readonly place: number;
  /** The parsed text of a command line, if it is known. */
  readonly line: ParsedCommandLine | null;
}

/** The components of one reference. */
export interface PreparedComponents {
  /** Components of judged PCRs, one by one. */
  readonly all: readonly ReferencedComponent[];
  /** Which banks better than SHA-1 its components carry. */
  readonly banks: readonly PcrBank[];
  /** How many of them one key stands for. */
  readonly counts: ReadonlyMap<string, number>;
  readonly stages: ReadonlySet<JudgedStage>;
  /** Some name no PCR. */
  readonly anywhere: boolean;
  /** Its loader's commands are known, so that the file they come from need not be the same. */
  readonly hasCommands: boolean;
  /** Its command lines, as far as their text is known. */
  readonly lines: readonly ReferencedLine[];
  readonly byDigest: ReadonlyMap<string, readonly ReferencedComponent[]>;
  /** Its commands name several disks, so that one is known only by what they call it before. */
  readonly severalDisks: boolean;
  /** By text with the version of its kernel masked, too. */
  readonly byText: ReadonlyMap<string, ReferencedComponent>;
  /** Digests in PCRs that are recorded and not judged: with them, such a PCR can be explained. */
  readonly recorded: ReadonlySet<string>;
}

export interface ReferencedLine extends ReferencedComponent {
  readonly line: ParsedCommandLine;
}

/** @param inOrder the components of each PCR stand in the order of one boot */
export function prepareComponents(
  { components }: Reference,
  inOrder: boolean,
  masks: readonly MaskName[],
): PreparedComponents {
  const readable = components.map(readableComponent);
  const commands = comparedCommands(readable, masks);
  const version = versionOfReference(readable);
  const all: ReferencedComponent[] = [];
  const byDigest = new Map<string, ReferencedComponent[]>();
  const byText = new Map<string, ReferencedComponent>();
  const recorded = new Set<string>();
  const counts = new Map<string, number>();
  const banks = new Set<PcrBank>();
  const places = new Map<string, number>();
  for (const [at, component] of components.entries()) {
    const command = commands.get(readable[at]!);
    const one = prepare(component, command, masks, (known) => {
      if (!inOrder || !hasPlace(known)) return -1;
      const place = places.get(known.key) ?? places.size;
      places.set(known.key, place);
      return place;
    });
    const digests = comparedBanks.flatMap((bank) => component.digests[bank] ?? []);
    if (one.pcr !== null && !judgedPcrs.has(one.pcr)) {
      for (const digest of digests) recorded.add(digest);
      continue;
    }
    all.push(one);
    counts.set(one.key, (counts.get(one.key) ?? 0) + 1);
    for (const bank of comparedBanks) if (component.digests[bank] !== undefined) banks.add(bank);
    for (const digest of digests) {
      const known = byDigest.get(digest);
      if (known === undefined) byDigest.set(digest, [one]);
      else known.push(one);
    }
    if (one.text === null) continue;
    byText.set(textKey(one.pcr, one.text), one);
    if (command !== undefined && version !== null)
      byText.set(textKey(one.pcr, withoutVersion(command, version)), one);
  }
  return {
    all,
    banks: comparedBanks.filter((bank) => banks.has(bank)),
    counts,
    stages: new Set(all.map(({ stage }) => stage)),
    anywhere: all.some(({ pcr }) => pcr === null),
    hasCommands: all.some(({ kind, pcr }) => kind === 'command' && pcr === 8),
    lines: all.flatMap((one) => (one.line === null ? [] : [{ ...one, line: one.line }])),
    severalDisks: namesSeveralDisks(readable),
    byDigest,
    byText,
    recorded,
  };
}

function readableComponent({ pcr, kind, text, ...rest }: Reference['components'][number]) {
  return { ...rest, pcr: pcr ?? null, kind: kind ?? null, text: text ?? null };
}

/** @param command what it is compared by, where it is one of a loader */
function prepare(
  component: Reference['components'][number],
  command: string | undefined,
  masks: readonly MaskName[],
  placeOf: (one: Omit<ReferencedComponent, 'place'>) => number,
): ReferencedComponent {
  const pcr = component.pcr ?? null;
  const stage = judgedStage(component.stage, pcr);
  const text = command ?? (component.text === undefined ? null : maskIdentifiers(component.text));
  const one = {
    key: text === null ? `${pcr}:${strongestDigest(component.digests)}` : textKey(pcr, text),
    stage,
    pcr,
    kind: component.kind ?? null,
    content: component.content ?? null,
    digests: component.digests,
    description: component.description,
    text,
    keys: component.keys ?? [],
    line: stage === 'cmdline' && text !== null ? comparedLine(text, masks) : null,
  };
  return { ...one, place: placeOf(one) };
}

/** A command line, as it is compared. @param text its identifiers are masked */
export function comparedLine(text: string, masks: readonly MaskName[]): ParsedCommandLine {
  const line = parseCommandLine(text);
  return { ...line, arguments: line.arguments.map((word) => maskArgument(word, masks)) };
}

function textKey(pcr: number | null, text: string): string {
  return `${pcr} ${text}`;
}

/** The commands of a boot's loader, as they are compared. */
export interface CommandTexts {
  /** As a command is compared by its text; undefined for all else. */
  readonly compared: (component: BootComponent) => string | undefined;
  /** Texts under which a command may be known, the first one first; none for all else. */
  readonly of: (component: BootComponent) => readonly string[];
  readonly severalDisks: () => boolean;
}

/**
 * The component of a reference that this one is: of the same digest in every bank that both have, SHA-1 aside, or a
 * loader's command, or a text of PCR 6, that is the same. Null if the reference has none.
 * @param texts made once for a boot, which is compared with many references
 */
export function referencedComponent(
  reference: PreparedComponents,
  component: BootComponent,
  texts: CommandTexts,
): ReferencedComponent | null {
  const { banks, byDigest, byText } = reference;
  for (const bank of banks) {
    const digest = component.digests[bank];
    if (digest === undefined) continue;
    for (const one of byDigest.get(digest) ?? none) {
      if (!isSame(one, component, banks)) continue;
      if (isOfDisk(reference, one, component, texts)) return one;
      break;
    }
  }
  if (component.text === null || component.stage === 'cmdline') return null;
  // PCR 6 may hold the UUID of the machine, whose place is all that counts.
  if (component.pcr === 6) return byText.get(textKey(6, maskIdentifiers(component.text))) ?? null;
  // Long texts, of which no capture keeps any.
  if (component.kind !== 'command' || definesMenu(component)) return null;
  for (const text of texts.of(component)) {
    const found = byText.get(textKey(component.pcr, text));
    if (found !== undefined) return found;
  }
  return null;
}

/** Attack: a number of a disk that is another disk in the reference, by what both call it before. */
function isOfDisk(
  reference: PreparedComponents,
  { kind, text }: ReferencedComponent,
  component: BootComponent,
  texts: CommandTexts,
): boolean {
  if (kind !== 'command' || text === null) return true;
  if (!reference.severalDisks && !texts.severalDisks()) return true;
  const compared = texts.compared(component);
  return compared === undefined || compared === text;
}

/** @param banks those in which the reference has digests */
function isSame(
  one: ReferencedComponent,
  { pcr, kind, digests }: BootComponent,
  banks: readonly PcrBank[],
): boolean {
  if (one.pcr !== null && one.pcr !== pcr) return false;
  // Attack: an event whose digest is the value that a PCR has on a good machine.
  if ((one.kind === 'value') !== (kind === 'value')) return false;
  for (const bank of banks) {
    const known = one.digests[bank];
    const measured = digests[bank];
    if (known !== undefined && measured !== undefined && known !== measured) return false;
  }
  return true;
}

const none: readonly never[] = [];
