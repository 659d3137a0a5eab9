import type { Reference } from '../../../formats/reference.ts';
import { judgedStage, stageNames } from '../../../policy/boot/judged-stage.ts';
import { comparedCommands } from '../../../policy/boot/loader-commands.ts';
import { maskIdentifiers } from '../../../policy/boot/masked-text.ts';
import { computedBanks } from './file.ts';

type ScopedComponent = Reference['components'][number];

/** A component that only one of two references has. */
export interface ComponentDifference {
  readonly stage: string;
  readonly pcr: number | null;
  readonly expected: string | null;
  readonly actual: string | null;
}

export interface ComponentsDifference {
  /** Differences in the stages that both have. */
  readonly components: readonly ComponentDifference[];
  /** Stages of which only one speaks, by name. */
  readonly onlyExpected: readonly string[];
  readonly onlyActual: readonly string[];
}

/** The components by which two references differ: a computed one has no events that could be compared. */
export function diffComponents(expected: Reference, actual: Reference): ComponentsDifference {
  const before = stagesOf(expected);
  const after = stagesOf(actual);
  const both = (component: ScopedComponent) =>
    before.has(stageOf(component)) && after.has(stageOf(component));
  const texts = new Map([...textsOf(expected), ...textsOf(actual)]);
  const without = (some: Reference, others: Reference) =>
    some.components.filter(
      (component) => both(component) && !others.components.some((other) => isSame(component, other, texts)),
    );
  return {
    components: [
      ...without(expected, actual).map((one) => ({ ...placeOf(one), expected: shown(one), actual: null })),
      ...without(actual, expected).map((one) => ({ ...placeOf(one), expected: null, actual: shown(one) })),
    ],
    onlyExpected: [...before].filter((stage) => !after.has(stage)),
    onlyActual: [...after].filter((stage) => !before.has(stage)),
  };
}

function stageOf({ stage, pcr }: ScopedComponent): string {
  return stageNames[judgedStage(stage, pcr ?? null)];
}

function stagesOf({ components }: Reference): ReadonlySet<string> {
  return new Set(components.map(stageOf));
}

/** As a boot is compared with them under a policy without masks. */
function textsOf({ components }: Reference): ReadonlyMap<ScopedComponent, string> {
  const readable = components.map((component) => {
    const { pcr = null, kind = null, text = null } = component;
    return { component, pcr, kind, text };
  });
  const commands = comparedCommands(readable, []);
  const texts = new Map<ScopedComponent, string>();
  for (const one of readable)
    if (one.text !== null) texts.set(one.component, commands.get(one) ?? maskIdentifiers(one.text));
  return texts;
}

/** Whether both have the same digest in every bank that both have, or the same text; without a PCR it stands for any. */
function isSame(
  one: ScopedComponent,
  other: ScopedComponent,
  texts: ReadonlyMap<ScopedComponent, string>,
): boolean {
  if (one.pcr !== undefined && other.pcr !== undefined && one.pcr !== other.pcr) return false;
  const [text, otherText] = [texts.get(one), texts.get(other)];
  if (text !== undefined && otherText !== undefined) return text === otherText;
  const banks = computedBanks.filter(
    (bank) => one.digests[bank] !== undefined && other.digests[bank] !== undefined,
  );
  return banks.length > 0 && banks.every((bank) => one.digests[bank] === other.digests[bank]);
}

function placeOf(component: ScopedComponent): { readonly stage: string; readonly pcr: number | null } {
  return { stage: stageOf(component), pcr: component.pcr ?? null };
}

function shown({ description, digests }: ScopedComponent): string {
  const bank = computedBanks.find((one) => digests[one] !== undefined);
  return bank === undefined ? description : `${description} ${bank}:${digests[bank]}`;
}
