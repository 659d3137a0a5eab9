import { judgedStage, stageNames } from '../../../policy/boot/judged-stage.ts';
import { maskIdentifiers } from '../../../policy/boot/masked-text.ts';
import type { Reference } from '../../../protocol/reference.ts';
import { computedBanks } from './file.ts';

type Component = Reference['components'][number];

/** A component that only one of two references has. */
export interface ComponentDifference {
  readonly stage: string;
  readonly pcr: number | null;
  readonly expected: string | null;
  readonly actual: string | null;
}

export interface ComponentsDifference {
  /** Of the stages of which both speak. */
  readonly components: readonly ComponentDifference[];
  /** Stages of which only one speaks, by name. */
  readonly onlyExpected: readonly string[];
  readonly onlyActual: readonly string[];
}

/** What two references say differently of what a boot measures: a computed one has no events that could be compared. */
export function diffComponents(expected: Reference, actual: Reference): ComponentsDifference {
  const before = stagesOf(expected);
  const after = stagesOf(actual);
  const both = (component: Component) => before.has(stageOf(component)) && after.has(stageOf(component));
  const without = (some: Reference, others: Reference) =>
    some.components.filter(
      (component) => both(component) && !others.components.some((other) => isSame(component, other)),
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

function stageOf({ stage, pcr }: Component): string {
  return stageNames[judgedStage(stage, pcr ?? null)];
}

function stagesOf({ components }: Reference): ReadonlySet<string> {
  return new Set(components.map(stageOf));
}

/** Of the same digest in every bank that both have, or of the same text; without a PCR it stands for any. */
function isSame(one: Component, other: Component): boolean {
  if (one.pcr !== undefined && other.pcr !== undefined && one.pcr !== other.pcr) return false;
  if (one.text !== undefined && other.text !== undefined)
    return maskIdentifiers(one.text) === maskIdentifiers(other.text);
  const banks = computedBanks.filter(
    (bank) => one.digests[bank] !== undefined && other.digests[bank] !== undefined,
  );
  return banks.length > 0 && banks.every((bank) => one.digests[bank] === other.digests[bank]);
}

function placeOf(component: Component): { readonly stage: string; readonly pcr: number | null } {
  return { stage: stageOf(component), pcr: component.pcr ?? null };
}

function shown({ description, digests }: Component): string {
  const bank = computedBanks.find((one) => digests[one] !== undefined);
  return bank === undefined ? description : `${description} ${bank}:${digests[bank]}`;
}
