import type { Inspected } from '../../wire/disk.ts';
import type { PcrBank } from '../../wire/messages.ts';
import type { Mount } from '../../wire/mount-table.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import type { UncappedBank } from '../cap.ts';
import type { Finding } from '../finding.ts';
import type { DiskRules } from './rules.ts';

type Detail = readonly string[];

function diskFinding(
  code: ReasonCode,
  text: string,
  { expected, actual }: { readonly expected: string; readonly actual: string | null },
  detail: Detail = [],
): Finding {
  return {
    code,
    aspect: 'disk',
    source: 'host',
    expected: cut(expected),
    actual: actual === null ? null : cut(actual),
    text,
    evidence: null,
    ...(detail.length > 0 && { detail }),
  };
}

function unavailable(text: string, expected: string, actual: string, detail: Detail = []): Finding {
  return diskFinding(
    'facts_unavailable',
    `${text} So it is not proven that the disk is encrypted.`,
    { expected, actual },
    detail,
  );
}

export const noPart: Finding = unavailable(
  'The node sent nothing about its disks.',
  'the part disk',
  'none; the agent may be of an earlier version',
);

export function unreadPart(why: string): Finding {
  return unavailable('What the node sent about its disks cannot be read.', 'the part disk', why);
}

export function notAsked(path: string): Finding {
  return unavailable(
    `The node says nothing about ${cut(path)}.`,
    path,
    'the agent was not asked, or does not tell',
  );
}

export function noPathAtAll({ paths }: DiskRules): Finding {
  const names = paths.map(({ path }) => path).join(', ');
  return unavailable('None of the protected paths exists on the node.', `one of ${names}`, 'none exists');
}

export const expectedInspection = 'what assay-agent inspect writes';

export function notInspected(cause: string): Finding {
  return unavailable('What only root can read of the disks is missing.', expectedInspection, cause);
}

export function notShown(path: string, cause: string, detail: Detail): Finding {
  return unavailable(
    `The node does not show all that ${cut(path)} lies on.`,
    `every layer below ${path}`,
    cause,
    detail,
  );
}

export function unreadHeader(name: string, cause: string, detail: Detail): Finding {
  return unavailable(`The LUKS header of ${cut(name)} was not read.`, 'its header', cause, detail);
}

export function missingPath(path: string): Finding {
  return diskFinding('path_not_covered', `The policy protects ${path}, which does not exist on the node.`, {
    expected: `${path} on an encrypted volume`,
    actual: 'there is no such path',
  });
}

export function notEncrypted(path: string, on: string, detail: Detail): Finding {
  return diskFinding(
    'mount_not_encrypted',
    `${path} is not encrypted: what is stored there can be read by whoever has the disk.`,
    { expected: 'an encrypted volume', actual: on },
    detail,
  );
}

export function notCovered(path: string, mount: Mount, detail: Detail): Finding {
  const where = mount.mountPoint.length < path.length ? path : mount.mountPoint;
  return diskFinding(
    'path_not_covered',
    `${path} is not encrypted as a whole: what is stored at ${cut(where)} is not.`,
    { expected: 'the whole path on encrypted volumes', actual: `${where}: ${mount.type}` },
    detail,
  );
}

export function volumeNotEncrypted(mount: Mount, kind: string, detail: Detail): Finding {
  return diskFinding(
    'path_not_covered',
    `A volume of a pod (${kind}) is not encrypted by this node: what is stored at ${cut(mount.mountPoint)} is not.`,
    { expected: 'volumes of pods on encrypted devices', actual: `${mount.mountPoint}: ${mount.type}` },
    detail,
  );
}

/** The same whichever pods come and go, so that their volumes make no row in the history. @param kinds sorted */
export function volumesReported(kinds: readonly string[]): Finding {
  const text = `Pods have volumes that this node does not encrypt (${kinds.join(', ')}). Their owners see to that.`;
  const values = { expected: 'volumes that their owners encrypt', actual: 'not encrypted by this node' };
  return { ...diskFinding('path_not_covered', text, values), severity: 'info' };
}

export function nullCipher(name: string, cipher: string, where: 'live' | 'header', detail: Detail): Finding {
  const text =
    where === 'live'
      ? `The mapping ${cut(name)} encrypts nothing: its cipher is ${cut(cipher)}.`
      : `The header of ${cut(name)} names the cipher ${cut(cipher)}: the next time it is opened nothing is encrypted.`;
  return diskFinding(
    'luks_null_cipher',
    text,
    { expected: 'a cipher that encrypts', actual: cipher },
    detail,
  );
}

export function otherVersion(
  name: string,
  versions: DiskRules['versions'],
  kind: string,
  detail: Detail,
): Finding {
  const text =
    kind === 'plain'
      ? `${cut(name)} is encrypted without a LUKS header, so that no policy can pin its key.`
      : `${cut(name)} is ${kind.toUpperCase()}, which the policy does not allow.`;
  const actual = kind === 'plain' ? 'no LUKS header' : kind;
  return diskFinding('luks_version', text, { expected: versions.join(' or '), actual }, detail);
}

export function otherCipher(
  name: string,
  ciphers: readonly string[],
  keySize: number,
  actual: string,
  detail: Detail,
): Finding {
  const expected = `${ciphers.join(' or ')}, at least ${keySize} bit`;
  return diskFinding(
    'luks_cipher',
    `${cut(name)} is encrypted by ${cut(actual)}, which the policy does not allow.`,
    { expected, actual },
    detail,
  );
}

export function changedHeader(name: string, expected: string, actual: string, detail: Detail): Finding {
  return diskFinding(
    'luks_header_changed',
    `The LUKS header of ${cut(name)} is not the one that it should be.`,
    { expected, actual },
    detail,
  );
}

export function revokedVolume(name: string, reference: string, detail: Detail): Finding {
  const text = `The volume of ${cut(name)} is one that was revoked.`;
  const values = { expected: 'a volume that nobody revoked', actual: reference };
  return { ...diskFinding('revoked_reference', text, values, detail), reference };
}

/** @param references that the policy names */
export function noReference(references: readonly string[]): Finding {
  return diskFinding(
    'no_reference',
    'No active reference that the policy names knows a volume of the node.',
    {
      expected: references.join(' or '),
      actual: null,
    },
  );
}

export function detachedHeader(name: string, at: string, detail: Detail): Finding {
  const text = `The LUKS header of ${cut(name)} does not lie on its volume but at ${cut(at)}: who can write there decides what is opened next.`;
  return {
    ...diskFinding('luks_header_detached', text, { expected: 'a header on the volume', actual: at }, detail),
    severity: 'warn',
  };
}

export function extraKeyslots(
  name: string,
  expected: string,
  slots: readonly string[],
  detail: Detail,
): Finding {
  const text = `More keys open ${cut(name)} than should: whoever has one of them can read it.`;
  return diskFinding('luks_extra_keyslot', text, { expected, actual: slots.join(', ') }, detail);
}

export function severalKeys(name: string, keys: readonly string[], detail: Detail): Finding {
  const text = `${cut(name)} is opened by several keys, as systemd-cryptenroll makes them, and no reference knows them: ${cut(keys.join(', '))}.`;
  const values = { expected: 'keys that a reference of the node knows', actual: keys.join(', ') };
  return { ...diskFinding('luks_extra_keyslot', text, values, detail), severity: 'warn' };
}

export function reencrypting(name: string, how: string, detail: Detail): Finding {
  const text = `The header of ${cut(name)} says that it is being re-encrypted or decrypted, so a part of it may be open.`;
  return diskFinding('luks_reencrypt_state', text, { expected: 'no reencryption', actual: how }, detail);
}

export function swapOpen(path: string, detail: Detail): Finding {
  const text = `Memory is swapped out to ${cut(path)}, which is not encrypted: keys, secrets of pods and what tmpfs holds may lie there.`;
  return diskFinding(
    'key_residue',
    text,
    { expected: 'swap on an encrypted device, or none', actual: path },
    detail,
  );
}

export function keyLeft(residue: Inspected['residue']): Finding {
  const names = residue.map(({ where, name }) => `${where} ${name}`);
  const text = 'Traces of keys of volumes are left on the node, where other programs may find them.';
  return diskFinding(
    'key_residue',
    text,
    { expected: 'no key outside the kernel’s mapping', actual: names.join(', ') },
    names,
  );
}

/** @param names of the other nodes, or of other mappings of this one */
export function sharedKey(what: string, names: readonly string[], source: Finding['source']): Finding {
  const others = names.slice(0, 8).join(', ');
  const text =
    what === 'uuid'
      ? `A LUKS header of this node has the UUID of one of ${cut(others)}: one is a copy of the other.`
      : `A LUKS header of this node has the same digest of its volume key as one of ${cut(others)}: whoever opens one can open both.`;
  return {
    ...diskFinding('luks_key_shared', text, { expected: 'a volume key of its own', actual: others }),
    source,
  };
}

export function capMissing(uncapped: readonly UncappedBank[]): Finding {
  const names = uncapped.map(({ bank }) => bank).join(', ');
  const unexplained = uncapped.filter(({ state }) => state === 'unexplained').map(({ bank }) => bank);
  const text =
    unexplained.length === 0
      ? `PCR 15 is not capped (${names}): whoever is root on the node can ask for its disk keys.`
      : `PCR 15 holds something that no log explains (${unexplained.join(', ')}), so that nobody knows whether it is capped.`;
  const actual = uncapped.map(({ bank, state }) => `${bank} ${state}`).join(', ');
  return {
    ...diskFinding('cap_missing', text, { expected: 'PCR 15 capped in each bank', actual }),
    source: 'tpm',
  };
}

export function capReverted(banks: readonly PcrBank[]): Finding {
  const names = banks.join(', ');
  const text = `PCR 15 was capped in this boot (${names}), and the TPM quotes it without the cap now: it restarted without a reset, or was put back to an earlier state.`;
  const values = { expected: 'the cap until the TPM is reset', actual: `without the cap in ${names}` };
  return { ...diskFinding('cap_reverted', text, values), source: 'tpm' };
}

/** Whoever was root may have copied the key, and no keyslot changes it. */
export function exposedVolume({ uuid, path }: { readonly uuid: string; readonly path: string }): Finding {
  const text = `The volume for ${cut(path)} was open while the node was untrusted: whoever was root then may have its volume key.`;
  const values = { expected: 'a volume key that was not open on an untrusted node', actual: uuid };
  return { ...diskFinding('volume_exposed', text, values), source: 'server', severity: 'warn' };
}

/** Words of others in a text of ours. */
function cut(text: string): string {
  return text.length <= 256 ? text : `${text.slice(0, 255)}…`;
}
