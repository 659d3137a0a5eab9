import { globMatches } from '../glob.ts';
import { type Enrolment, enrolments } from '../policy.ts';
import type { Located } from './policy-error.ts';
import { unsupported } from './policy-schema.ts';

/**
 * What one field cannot tell: fields that contradict each other. Reads the raw value, so that these faults are told
 * beside those of the schema.
 * @param ways by which nodes can enrol at whoever will apply the policy
 */
export function contradictionsIn(raw: unknown, ways: readonly Enrolment[]): Located[] {
  const names = new Set<unknown>();
  return listOf(fieldOf(raw, 'groups')).flatMap((group, index) => {
    const name = fieldOf(group, 'name');
    const twice = name !== undefined && names.has(name);
    names.add(name);
    const found = [
      ...(twice ? [{ path: ['name'], text: 'another group above has this name' }] : []),
      ...ofMode(group),
      ...ofEnrolment(group, ways),
      ...ofAbsent(group),
      ...ofCommandLine(fieldOf(group, 'boot')),
    ];
    return found.map(({ path, text }) => ({ path: ['groups', index, ...path], text }));
  });
}

function ofMode(group: unknown): Located[] {
  const mode = fieldOf(group, 'mode');
  if (!marks(mode) || fieldOf(group, 'tpm') === 'absent') return [];
  const given = fieldOf(group, 'require');
  const required = listOf(given).flatMap(wordsOf);
  const missing = ['identity', 'boot'].filter((aspect) => !required.includes(aspect));
  if (missing.length === 0) return [];
  const text = `mode ${mode} needs require: [identity, boot]; missing: ${missing.join(', ')}`;
  return [{ path: [given === undefined ? 'mode' : 'require'], text }];
}

function ofEnrolment(group: unknown, ways: readonly Enrolment[]): Located[] {
  const faults: Located[] = [];
  const mode = fieldOf(group, 'mode');
  const named = listOf(fieldOf(group, 'enrolment'));
  for (const way of enrolments)
    if (named.includes(way) && !ways.includes(way))
      faults.push({ path: ['enrolment', named.indexOf(way)], text: unsupported });
  const firstUse = named.indexOf('first-use');
  if (marks(mode) && firstUse >= 0)
    faults.push({
      path: ['enrolment', firstUse],
      text: `mode ${mode} takes no first-use: whoever comes first would be trusted`,
    });
  return faults;
}

/** A machine without a TPM can prove nothing, so nothing can be wanted of it. */
function ofAbsent(group: unknown): Located[] {
  if (fieldOf(group, 'tpm') !== 'absent') return [];
  const faults: Located[] = [];
  if (listOf(fieldOf(group, 'require')).flatMap(wordsOf).includes('boot'))
    faults.push({ path: ['require'], text: 'tpm: absent proves no boot; leave require out' });
  if (fieldOf(group, 'boot') !== undefined)
    faults.push({ path: ['boot'], text: 'tpm: absent proves no boot; leave boot out' });
  if (fieldOf(group, 'tpmClass') !== undefined)
    faults.push({ path: ['tpmClass'], text: 'tpm: absent has no TPM of any class; leave tpmClass out' });
  if (marks(fieldOf(group, 'mode')))
    faults.push({
      path: ['mode'],
      text: 'tpm: absent is never trusted, so there is nothing to mark; use observe',
    });
  return faults;
}

/** As many as the schema allows of one kind: it refuses more. */
const mostGlobs = 256;

function ofCommandLine(boot: unknown): Located[] {
  const rules = fieldOf(boot, 'cmdline');
  const globs = (key: string) =>
    listOf(fieldOf(rules, key))
      .slice(0, mostGlobs)
      .filter((glob) => typeof glob === 'string');
  const forbid = globs('forbid');
  const faults: Located[] = [];
  for (const key of ['require', 'allow'])
    for (const [index, wanted] of globs(key).entries()) {
      const by = forbid.find((glob) => covers(glob, wanted));
      if (by !== undefined)
        faults.push({ path: [key, index], text: `whatever matches ${wanted} is forbidden by ${by}` });
    }
  const exact = fieldOf(rules, 'exact');
  if (typeof exact === 'string') {
    for (const key of ['require', 'allow'])
      if (globs(key).length > 0)
        faults.push({ path: ['exact'], text: `says the whole line; leave ${key} out, or exact` });
    const bad = exact.split(/\s+/).find((argument) => forbid.some((glob) => globMatches(glob, argument)));
    if (bad !== undefined) faults.push({ path: ['exact'], text: `holds ${bad}, which is forbidden` });
  }
  const scope = fieldOf(fieldOf(boot, 'scope'), 'cmdline');
  if (scope === 'exact')
    for (const key of ['require', 'allow', 'exact'])
      if (globs(key).length > 0 || (key === 'exact' && exact !== undefined))
        faults.push({
          path: [key],
          text: 'scope cmdline: exact wants the line of a reference; leave this out, or use rules',
        });
  return faults.map(({ path, text }) => ({ path: ['boot', 'cmdline', ...path], text }));
}

/** True where all that matches `glob` also matches `wide`. A `?` in `wide` is not looked into. */
export function covers(wide: string, glob: string): boolean {
  return wide === glob || (!wide.includes('?') && globMatches(wide, glob));
}

function marks(mode: unknown): mode is 'label' | 'enforce' {
  return mode === 'label' || mode === 'enforce';
}

/** `boot`, or the aspects of `{boot: tpm}`. */
function wordsOf(required: unknown): readonly unknown[] {
  return typeof required === 'object' && required !== null ? Object.keys(required) : [required];
}

function fieldOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
