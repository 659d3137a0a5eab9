import { z } from 'zod';
import { reasonSchema } from '../../protocol/verdict.ts';
import type { Finding } from '../finding.ts';
import { type HostOutcome, isNotSaid } from './outcomes.ts';

/** What broke a rule when its facts were last given, as it is remembered of a node. */
export type HostStanding = readonly Finding[];

const schema = z.array(reasonSchema.omit({ class: true })).max(8);

export function rememberedIn(memory: unknown): HostStanding {
  // Only this folder writes it; a bundle may hold anything.
  return memory === undefined ? none : (schema.safeParse(memory).data ?? none);
}

/**
 * Of these, what stands because the facts that would show otherwise are not given now. Attack: a node that was found to
 * break a rule says afterwards that it cannot read what shows it.
 */
export function standing(before: HostStanding, outcomes: readonly HostOutcome[]): HostStanding {
  return before.filter(({ code }) => {
    const now = outcomes.find((outcome) => outcome.code === code)?.findings ?? [];
    return now.some(isNotSaid) && !now.some((finding) => finding.code === code);
  });
}

/** As `rememberedIn` gives it: what it weighs follows from the code, or the policy. */
export function toRemember(findings: readonly Finding[]): HostStanding {
  return findings
    .filter((finding) => !isNotSaid(finding))
    .map((finding) => ({ severity: 'fail', ...finding }));
}

const none: HostStanding = [];
