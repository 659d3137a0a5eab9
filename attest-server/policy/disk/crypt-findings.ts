import type { Finding } from '../finding.ts';
import { globMatches } from '../glob.ts';
import { isNullCipher } from './crypt-target.ts';
import {
  changedHeader,
  detachedHeader,
  extraKeyslots,
  nullCipher,
  otherCipher,
  otherVersion,
  reencrypting,
  revokedVolume,
  severalKeys,
  unreadHeader,
} from './findings.ts';
import { bare, type Crypt } from './layers.ts';
import { type LuksVolume, luksVolume } from './luks-metadata.ts';
import type { DiskRules } from './rules.ts';

/** The volumes of one node that active references know. */
export interface EnrolledVolumes {
  /** True if the node's volumes must be among these, wherever they are. */
  readonly isDemanded: boolean;
  readonly volumes: readonly EnrolledVolume[];
  /** UUIDs of volumes that were revoked, and by which reference. */
  readonly revoked: ReadonlyMap<string, string>;
}

/** A volume as a reference has it; what is compared are the canonical texts. */
export interface EnrolledVolume
  extends Pick<LuksVolume, 'version' | 'uuid' | 'keyslots' | 'tokens' | 'segments' | 'digests'> {
  /** Name of the reference. */
  readonly reference: string;
  /** The protected path that it must encrypt, and no other. */
  readonly path?: string | undefined;
}

/** The faults of one mapping that encrypts: of the live one first, then of its header, then of what is enrolled. */
export function cryptFindings(
  crypt: Crypt,
  rules: DiskRules,
  enrolled: EnrolledVolumes,
  detail: readonly string[],
): { readonly findings: readonly Finding[]; readonly reference: string | null } {
  const findings = liveFindings(crypt, rules, detail).map((found) => ({ ...found, source: crypt.source }));
  if (crypt.kind === 'plain') return { findings, reference: null };
  const { header, unreadable, name } = crypt;
  const volume = header === null ? null : luksVolume(header);
  if (header === null || volume === null || 'fault' in volume) {
    const cause = volume !== null && 'fault' in volume ? volume.fault : unreadable;
    findings.push(unreadHeader(name, cause ?? 'assay-agent inspect saw no header of it', detail));
    // Attack: the enrolled header was overwritten while the volume is open.
    if (header !== null && enrolled.isDemanded)
      findings.push(changedHeader(name, 'a header as enrolled', 'one that cannot be read', detail));
    return { findings, reference: null };
  }
  findings.push(...headerFindings(crypt, volume, header.detachedAt, detail));
  const revoked = enrolled.revoked.get(volume.uuid);
  if (revoked !== undefined) findings.push(revokedVolume(name, revoked, detail));
  const known = enrolled.volumes.find(({ uuid }) => uuid === volume.uuid);
  if (known !== undefined) {
    // While its key is being replaced, its reference has both headers, the earlier one and the next.
    const forms = enrolled.volumes.filter(
      ({ uuid, reference }) => uuid === known.uuid && reference === known.reference,
    );
    const judged = forms.map((form) => enrolledFindings(name, volume, form, detail));
    findings.push(...(judged.find((found) => found.length === 0) ?? judged[0] ?? []));
  } else if (enrolled.isDemanded)
    findings.push(
      changedHeader(
        name,
        enrolled.volumes.map(({ uuid, reference }) => `${uuid} (${reference})`).join(', ') ||
          'an enrolled header',
        volume.uuid,
        detail,
      ),
    );
  // A reencryption adds keyslots of its own, and is reported already.
  else if (volume.reencryption === null) findings.push(...unknownKeyslots(name, volume, rules, detail));
  return { findings, reference: known?.reference ?? null };
}

/** The live mapping, whatever the header says. Attack: a good header over a mapping that encrypts nothing. */
function liveFindings(
  { name, kind, targets }: Crypt,
  { versions, ciphers, keySize }: DiskRules,
  detail: readonly string[],
): Finding[] {
  const findings: Finding[] = [];
  const none = targets.find(({ isNull }) => isNull);
  if (none !== undefined) findings.push(nullCipher(name, none.cipher, 'live', detail));
  if (kind === 'plain' || (kind !== 'temporary' && !versions.includes(kind)))
    findings.push(otherVersion(name, versions, kind, detail));
  for (const { cipher, keyBits, isNull } of targets) {
    if (isNull) continue;
    const isAllowed = ciphers.some((glob) => globMatches(glob, cipher));
    if (isAllowed && keyBits !== null && keyBits >= keySize) continue;
    const bits = keyBits === null ? 'a key of unknown size' : `${keyBits} bit`;
    findings.push(otherCipher(name, ciphers, keySize, `${cipher}, ${bits}`, detail));
    break;
  }
  return findings;
}

function headerFindings(
  { name, kind, uuid, targets }: Crypt,
  volume: LuksVolume,
  detachedAt: string | null,
  detail: readonly string[],
): readonly Finding[] {
  const findings: Finding[] = [];
  const empty = volume.ciphers.find(isNullCipher);
  if (empty !== undefined && !targets.some(({ isNull }) => isNull))
    findings.push(nullCipher(name, empty, 'header', detail));
  if (volume.reencryption !== null) findings.push(reencrypting(name, volume.reencryption, detail));
  const changed = (expected: string, actual: string) =>
    findings.push(changedHeader(name, expected, actual, detail));
  // Attack: the header was swapped since the volume was opened; the mapping keeps the UUID of the one that opened it.
  if (uuid !== null && bare(volume.uuid) !== uuid)
    changed(`the header ${uuid}, by which the mapping was opened`, bare(volume.uuid));
  else if (kind === (volume.version === 1 ? 'luks2' : 'luks1'))
    changed(`a ${kind} header, by which the mapping was opened`, `version ${volume.version}`);
  else if (empty === undefined && volume.reencryption === null) {
    const live = targets.filter(({ isNull }) => !isNull);
    const other = live.find(({ cipher }) => !volume.ciphers.includes(cipher));
    const size = live.find(
      ({ keyBits }) => keyBits !== null && volume.keyBytes !== null && keyBits !== volume.keyBytes * 8,
    );
    if (other !== undefined)
      changed(`${other.cipher}, as the live mapping`, volume.ciphers.join(', ') || 'no encrypted segment');
    else if (size !== undefined)
      changed(`a key of ${size.keyBits} bit, as the live mapping`, `${(volume.keyBytes ?? 0) * 8} bit`);
  }
  if (detachedAt !== null) findings.push(detachedHeader(name, detachedAt, detail));
  return findings;
}

function enrolledFindings(
  name: string,
  volume: LuksVolume,
  known: EnrolledVolume,
  detail: readonly string[],
): readonly Finding[] {
  const findings: Finding[] = [];
  const by = { reference: known.reference };
  const members = (['segments', 'digests'] as const).filter(
    (member) => !areSame(known[member], volume[member]),
  );
  const changedSlots = (['keyslots', 'tokens'] as const).flatMap((member) =>
    Object.keys(known[member])
      .filter((id) => volume[member][id] !== known[member][id])
      .map((id) => `${member} ${id}`),
  );
  const different = [...(known.version === volume.version ? [] : ['version']), ...members, ...changedSlots];
  if (different.length > 0)
    findings.push({
      ...changedHeader(name, `as enrolled (${known.reference})`, `other: ${different.join(', ')}`, detail),
      ...by,
    });
  const extra = (['keyslots', 'tokens'] as const).flatMap((member) =>
    Object.keys(volume[member])
      .filter((id) => known[member][id] === undefined)
      .map((id) => `${member} ${id}`),
  );
  if (extra.length > 0)
    findings.push({ ...extraKeyslots(name, `as enrolled (${known.reference})`, extra, detail), ...by });
  return findings;
}

/** Keyslots of a volume that no reference knows. One that systemd-cryptenroll put there is not too many: somebody is to vouch for it. */
function unknownKeyslots(
  name: string,
  volume: LuksVolume,
  rules: DiskRules,
  detail: readonly string[],
): readonly Finding[] {
  const slots = Object.keys(volume.keyslots);
  if (slots.length <= rules.keyslots) return [];
  if (slots.filter((id) => volume.enrolled[id] === undefined).length <= rules.keyslots) {
    const keys = slots.map((id) => `keyslot ${id}: ${volume.enrolled[id] ?? 'a passphrase or a key file'}`);
    return [severalKeys(name, keys, detail)];
  }
  const expected = `at most ${rules.keyslots}, as no reference knows the volume`;
  return [extraKeyslots(name, expected, slotsOf(volume), detail)];
}

function slotsOf({ keyslots }: LuksVolume): readonly string[] {
  return Object.keys(keyslots).map((id) => `keyslots ${id}`);
}

function areSame(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const ids = Object.keys(a);
  return ids.length === Object.keys(b).length && ids.every((id) => a[id] === b[id]);
}
