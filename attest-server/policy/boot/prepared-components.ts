import type { FileContent } from '../../protocol/loader-files.ts';
import type { PcrBank } from '../../protocol/messages.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { type CommandLine, parseCommandLine } from '../command-line.ts';
import { comparedBanks, strongestDigest } from './compared-pcrs.ts';
import { type JudgedStage, judgedPcrs, judgedStage } from './judged-stage.ts';
import { maskIdentifiers } from './masked-text.ts';
import { hasPlace } from './only-read.ts';

/** A component of a reference, ready to be looked up. */
export interface ReferencedComponent {
  /** Same for components that one event of a boot stands for: a loader may run one command, or read one file, often. */
  readonly key: string;
  readonly stage: JudgedStage;
  /** Null: in any PCR that is judged. */
  readonly pcr: number | null;
  readonly kind: string | null;
  /** What the file was by its bytes, when it was captured; null where nobody saw them. */
  readonly content: FileContent | null;
  readonly digests: Reference['components'][number]['digests'];
  readonly description: string;
  /** Masked. */
  readonly text: string | null;
  readonly keys: NonNullable<Reference['components'][number]['keys']>;
  /** Where its like comes first in the boot that was captured; -1 where the order of its PCR says nothing. */
  readonly place: number;
  /** Of a command line, where its text is known. */
  readonly line: CommandLine | null;
}

/** The components of one reference. */
export interface PreparedComponents {
  /** Those of judged PCRs, one by one. */
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
  readonly byText: ReadonlyMap<string, ReferencedComponent>;
  /** Digests in PCRs that are recorded and not judged: with them, such a PCR can be explained. */
  readonly recorded: ReadonlySet<string>;
}

export interface ReferencedLine extends ReferencedComponent {
  readonly line: CommandLine;
}

/** @param inOrder the components of each PCR stand in the order of one boot */
export function prepareComponents({ components }: Reference, inOrder: boolean): PreparedComponents {
  const all: ReferencedComponent[] = [];
  const byDigest = new Map<string, ReferencedComponent[]>();
  const byText = new Map<string, ReferencedComponent>();
  const recorded = new Set<string>();
  const counts = new Map<string, number>();
  const banks = new Set<PcrBank>();
  const places = new Map<string, number>();
  for (const component of components) {
    const one = prepare(component, (known) => {
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
    if (one.text !== null) byText.set(textKey(one.pcr, one.text), one);
  }
  return {
    all,
    banks: comparedBanks.filter((bank) => banks.has(bank)),
    counts,
    stages: new Set(all.map(({ stage }) => stage)),
    anywhere: all.some(({ pcr }) => pcr === null),
    hasCommands: all.some(({ kind, pcr }) => kind === 'command' && pcr === 8),
    lines: all.flatMap((one) => (one.line === null ? [] : [{ ...one, line: one.line }])),
    byDigest,
    byText,
    recorded,
  };
}

function prepare(
  component: Reference['components'][number],
  placeOf: (one: Omit<ReferencedComponent, 'place'>) => number,
): ReferencedComponent {
  const pcr = component.pcr ?? null;
  const stage = judgedStage(component.stage, pcr);
  const text = component.text === undefined ? null : maskIdentifiers(component.text);
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
    line: stage === 'cmdline' && text !== null ? parseCommandLine(text) : null,
  };
  return { ...one, place: placeOf(one) };
}

function textKey(pcr: number | null, text: string): string {
  return `${pcr} ${text}`;
}

/**
 * The component of a reference that this one is: of the same digest in every bank that both have, SHA-1 aside, or a
 * loader's command of the same text. Null where the reference has none.
 * @param masked as `maskIdentifiers` does it; a boot is compared with many references
 */
export function referencedComponent(
  { byDigest, byText }: PreparedComponents,
  component: BootComponent,
  masked: (text: string) => string,
): ReferencedComponent | null {
  for (const bank of comparedBanks) {
    const digest = component.digests[bank];
    if (digest === undefined) continue;
    const found = byDigest.get(digest)?.find((one) => isSame(one, component));
    if (found !== undefined) return found;
  }
  if (component.text === null || component.stage === 'cmdline') return null;
  if (component.kind !== 'command') return null;
  return byText.get(textKey(component.pcr, masked(component.text))) ?? null;
}

function isSame(one: ReferencedComponent, { pcr, kind, digests }: BootComponent): boolean {
  if (one.pcr !== null && one.pcr !== pcr) return false;
  // Attack: an event whose digest is the value that a PCR has on a good machine.
  if ((one.kind === 'value') !== (kind === 'value')) return false;
  return comparedBanks.every(
    (bank) =>
      one.digests[bank] === undefined || digests[bank] === undefined || one.digests[bank] === digests[bank],
  );
}
