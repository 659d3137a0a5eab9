import type { ReferenceKind } from '../formats/reference.ts';
import type { Finding } from './finding.ts';

/**
 * The finding that there is nothing to compare with.
 * @param group its name
 * @param names of references that its rules name; null: any of the group
 * @param purpose ends the sentence for people: `to compare the rules with`
 */
export function noActiveReference(
  kind: ReferenceKind,
  group: string,
  names: readonly string[] | null,
  purpose: string,
): Finding {
  const what = kind === 'boot' ? 'active reference' : `active reference of kind ${kind}`;
  const which = names === null ? `for group ${group}` : `named ${names.join(', ')}`;
  return {
    code: 'no_reference',
    aspect: kind,
    source: 'server',
    expected: `an ${what} ${which}`,
    actual: null,
    text: `There is no ${what} ${which} ${purpose}.`,
    evidence: null,
  };
}
