import type { EnrolmentMethod } from '../../formats/enrolment-method.ts';
import { aspects } from '../aspects.ts';
import { enrolments } from '../policy.ts';
import type { LocatedFault } from './policy-error.ts';
import { fieldOf, listOf } from './raw-value.ts';

/**
 * Faults that no field shows alone: fields that contradict each other. Reads the raw value, so that these faults are reported
 * beside those of the schema.
 * @param methods by which nodes can enrol at whoever will apply the policy
 */
export function contradictionsIn(raw: unknown, methods: readonly EnrolmentMethod[]): LocatedFault[] {
  const names = new Set<unknown>();
  return listOf(fieldOf(raw, 'groups')).flatMap((group, index) => {
    const name = fieldOf(group, 'name');
    const twice = name !== undefined && names.has(name);
    names.add(name);
    const found = [
      ...(twice ? [{ path: ['name'], text: 'another group above has this name' }] : []),
      ...ofMode(group),
      ...ofEnrolment(group, methods),
      ...ofAbsent(group),
      ...ofAspects(group),
    ];
    return found.map(({ path, text }) => ({ path: ['groups', index, ...path], text }));
  });
}

function ofMode(group: unknown): LocatedFault[] {
  const mode = fieldOf(group, 'mode');
  if (!marks(mode) || fieldOf(group, 'tpm') === 'absent') return [];
  const given = fieldOf(group, 'require');
  const required = listOf(given).flatMap(wordsOf);
  const missing = ['identity', 'boot'].filter((aspect) => !required.includes(aspect));
  if (missing.length === 0) return [];
  const text = `mode ${mode} needs require: [identity, boot]; missing: ${missing.join(', ')}`;
  return [{ path: [given === undefined ? 'mode' : 'require'], text }];
}

/** The settings that a server lacks if it does not offer it. */
const needs: Readonly<Partial<Record<EnrolmentMethod, string>>> = {
  vendor: 'it needs a cluster (kubernetes.api) and authorities of TPM makers (endorsementRoots)',
  cloud: 'it needs a cluster (kubernetes.api) and a program to ask (cloudProgram)',
};

function ofEnrolment(group: unknown, methods: readonly EnrolmentMethod[]): LocatedFault[] {
  const faults: LocatedFault[] = [];
  const mode = fieldOf(group, 'mode');
  const named = listOf(fieldOf(group, 'enrolment'));
  for (const method of enrolments)
    if (named.includes(method) && !methods.includes(method))
      faults.push({
        path: ['enrolment', named.indexOf(method)],
        text: `cannot be used here: ${method}: ${needs[method] ?? 'it does not know it'}; the methods that can: ${methods.join(', ')}`,
      });
  const firstUse = named.indexOf('first-use');
  if (marks(mode) && firstUse >= 0)
    faults.push({
      path: ['enrolment', firstUse],
      text: `mode ${mode} does not allow first-use: the first machine to come would be trusted`,
    });
  return faults;
}

function ofAspects(group: unknown): LocatedFault[] {
  return aspects.flatMap(({ name, contradictions }) =>
    contradictions(fieldOf(group, name)).map(({ path, text }) => ({ path: [name, ...path], text })),
  );
}

/** A machine without a TPM can prove nothing, so nothing can be wanted of it. */
function ofAbsent(group: unknown): LocatedFault[] {
  if (fieldOf(group, 'tpm') !== 'absent') return [];
  const faults: LocatedFault[] = [];
  const required = listOf(fieldOf(group, 'require')).flatMap(wordsOf);
  for (const { name, schema } of aspects) {
    if (schema === null) continue;
    const text = `tpm: absent proves no ${name}; leave`;
    if (required.includes(name)) faults.push({ path: ['require'], text: `${text} require out` });
    if (fieldOf(group, name) !== undefined) faults.push({ path: [name], text: `${text} ${name} out` });
  }
  if (fieldOf(group, 'tpmClass') !== undefined)
    faults.push({ path: ['tpmClass'], text: 'tpm: absent has no TPM of any class; leave tpmClass out' });
  if (fieldOf(group, 'mode') === 'label')
    faults.push({
      path: ['mode'],
      text: 'tpm: absent is never trusted, so it gets no label; use observe, or enforce for a taint',
    });
  return faults;
}

function marks(mode: unknown): mode is 'label' | 'enforce' {
  return mode === 'label' || mode === 'enforce';
}

/** `boot`, or the aspects of `{boot: tpm}`. */
function wordsOf(required: unknown): readonly unknown[] {
  return typeof required === 'object' && required !== null ? Object.keys(required) : [required];
}
