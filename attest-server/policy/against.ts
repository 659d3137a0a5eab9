import { z } from 'zod';
import { type AspectName, aspects as aspectNames, reasonSchema, severities } from '../wire/verdict.ts';
import type { AspectJudgement, ClearedFindings, Past } from './aspect.ts';
import { earlierAgainst } from './earlier-against.ts';
import { type Finding, severityOf, unproven } from './finding.ts';
import type { GroupBase } from './group.ts';

/** By aspect, what broke the policy when it was last read. */
export type StandingFindings = Readonly<Partial<Record<AspectName, readonly Finding[]>>>;

/** Beside what the aspects remember of a node, under a name that is none of theirs. */
const key = 'against';
const kept = reasonSchema
  .omit({ class: true, severity: true, detail: true })
  .extend({ severity: z.enum(severities).exactOptional() });

/** Findings that stand against a node, and the memory of its aspects without them; null if none stands. */
export function againstIn(
  memory: Past['memory'],
): { readonly against: StandingFindings; readonly memory: Past['memory'] } | null {
  const earlier = earlierAgainst(memory);
  if (memory[key] === undefined && earlier === null) return null;
  const { [key]: given, ...own } = earlier?.memory ?? memory;
  const against: Partial<Record<AspectName, readonly Finding[]>> = {};
  for (const name of aspectNames) {
    // Only this file writes it; a bundle may hold anything. Until 0.3.0 it was one finding for each aspect.
    const said = [Object(given)[name] ?? [], earlier?.against.get(name) ?? []].flat();
    const findings = said.flatMap((one) => kept.safeParse(one).data ?? []);
    if (findings.length > 0) against[name] = bounded(findings);
  }
  return { against, memory: own };
}

export function withAgainst(memory: Past['memory'], against: StandingFindings): Past['memory'] {
  for (const _ in against) return { ...memory, [key]: against };
  return memory;
}

/** Findings that stood against a node, and that this judgement neither takes back nor finds again: they stand. */
export function stillStanding(
  before: readonly Finding[],
  { findings, affirmed, takesBack = affirmed ? all : none }: AspectJudgement,
): readonly Finding[] {
  return before.filter(
    (one) =>
      !isTakenBack(one, takesBack) &&
      !findings.some((found) => isAlike(one, found) && (weighs(found) || !weighs(one))),
  );
}

/** The same judgement where that stands: affirmed is nothing then. */
export function withStanding(judgement: AspectJudgement, stands: readonly Finding[]): AspectJudgement {
  const { findings, source } = judgement;
  const told = stands.map((one) => ({
    ...one,
    text: one.text.endsWith(again) ? one.text : `${one.text}${again}`,
  }));
  return {
    ...judgement,
    findings: [...findings, ...told],
    affirmed: false,
    source: findings.length === 0 ? (stands[0]?.source ?? source) : source,
  };
}

/** Whether it counts by the present policy: a finding that failed by an earlier policy alone is kept, and withholds nothing. */
export function counts(one: Finding, group: Pick<GroupBase, 'require' | 'severity'>): boolean {
  return weighs(one) || severityOf(one, group) === 'fail';
}

/** Findings that stand against an aspect from now on, the new ones included. */
export function nextAgainst(
  stands: readonly Finding[],
  findings: readonly Finding[],
  group: Pick<GroupBase, 'require' | 'severity'>,
): readonly Finding[] {
  const found = findings.filter((one) => !unproven.has(one.code) && counts(one, group));
  return found.length === 0 ? stands : bounded([...stands, ...found]);
}

const again = ' It has not been read again since.';
const all: ClearedFindings = { allBut: [] };
const none: ClearedFindings = { only: [] };

function isTakenBack({ code, source }: Finding, takesBack: ClearedFindings): boolean {
  return 'only' in takesBack
    ? takesBack.only.includes(code)
    : takesBack.also?.includes(code) === true ||
        !takesBack.allBut.some((one) => one === code || one === source);
}

/** Attack: what the TPM vouched for is found once more by the node's word, which then takes it back. */
function isAlike(a: Finding, b: Finding): boolean {
  return a.code === b.code && a.source === b.source;
}

/** By itself, whatever the policy says of it at present. */
function weighs({ severity = 'fail' }: Finding): boolean {
  return severity === 'fail';
}

/** The most findings of each aspect: what a node stores is small, whatever it shows. */
const mostFindings = 8;
/** In characters: names of files may be long. */
const longestText = 1024;

/** Each once, without its lines: these are in the verdict that found it. */
function bounded(findings: readonly Finding[]): readonly Finding[] {
  return findings
    .filter((one, index) => findings.findIndex((other) => isAlike(one, other)) === index)
    .slice(0, mostFindings)
    .map(({ detail: _, ofNode: _own, ...one }) => ({
      ...one,
      expected: one.expected?.slice(0, longestText) ?? null,
      actual: one.actual?.slice(0, longestText) ?? null,
      text: one.text.slice(0, longestText),
    }));
}
