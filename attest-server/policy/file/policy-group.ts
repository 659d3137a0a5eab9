import { rulesOf } from '../aspects.ts';
import { holdsWithoutEnd, type PolicyGroup } from '../policy.ts';
import { groupInFile, requiredAspect } from './policy-schema.ts';

/** A group as it is judged by: what the file leaves out has its default. @param given fits the grammar */
export function policyGroup(given: unknown): PolicyGroup {
  const file = groupInFile.parse(given);
  const required = file.require.map(requiredAspect);
  return {
    name: file.name,
    nodes: file.nodes,
    labels: file.labels,
    mode: file.mode,
    tpm: file.tpm,
    tpmClass: file.tpmClass ?? null,
    enrolment: [...new Set(file.enrolment)],
    require: [...new Set(required.map(({ name }) => name))],
    vouched: [...new Set(required.filter(({ byTpm }) => byTpm).map(({ name }) => name))],
    rules: rulesOf(file),
    freshness: file.freshness ?? null,
    gate: file.gate ?? holdsWithoutEnd,
    ...(file.keys !== undefined && { keys: { ...file.keys, from: file.keys.from ?? null } }),
    severity: file.severity,
  };
}
