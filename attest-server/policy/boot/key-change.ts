import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { SignatureEntry } from '../../verify/tpm/signature-list.ts';
import type { ReferencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { quoted } from './sentence.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * The difference of a list of keys from a reference, as the rest of a sentence; null if either side does not say what it
 * holds, or nothing differs.
 */
export function keyChange(
  { state: { secureBoot } }: VouchedBoot,
  actual: BootComponent | null,
  expected: ReferencedComponent | null,
  { reference }: PreparedReference,
): string | null {
  const list = [...secureBoot.databases, ...secureBoot.machineOwner].find(
    ({ event }) => event === actual?.event,
  );
  if (list === undefined) return null;
  const { name } = list;
  if (name === 'dbx') {
    const held = new Set(list.entries.map(({ digest }) => digest));
    const lost = (reference.revocations ?? []).filter((digest) => !held.has(digest));
    return lost.length === 0
      ? null
      : `measured dbx without ${lost.length} of the revocations of reference ${reference.name}, the first is ${lost[0]}`;
  }
  // The usual cause is one key more, and the log holds none of them: it does not show which.
  if (name === 'MokList' && 'content' in list && list.content === 'unknown')
    return `measured another list of machine owner keys than in reference ${reference.name}`;
  if (expected === null || expected.keys.length === 0) return null;
  const before = expected.keys;
  const more = list.entries.filter(({ digest }) => !before.some((one) => one.digest === digest));
  const less = before.filter(({ digest }) => !list.entries.some((one) => one.digest === digest));
  const parts = [
    more[0] === undefined ? '' : `with the key ${keyName(more[0])}`,
    less[0] === undefined ? '' : `without the key ${keyName(less[0])}`,
  ].filter((part) => part !== '');
  if (parts.length === 0) return null;
  return `measured ${name} ${parts.join(' and ')}, compared with reference ${reference.name}`;
}

export function keyName({ digest, subject }: Pick<SignatureEntry, 'digest' | 'subject'>): string {
  return `${subject === null ? '' : `${quoted(subject)} `}sha256:${digest}`;
}
