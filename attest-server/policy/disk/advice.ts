import type { Advice } from '../../wire/advice.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import { expectedInspection } from './findings.ts';

const compromised =
  'If nobody did this on purpose, take the node out of service: whoever did it was root there, and may have the volume key. Re-encrypt the volume before it is used again.';
const devices = '  lsblk --paths --fs';
const capture = [
  'If the change is wanted, and you vouch for the node, capture its headers, and approve that:',
  '  assay reference capture NODE --kind disk --name NEW_NAME-disk --staged',
  '  assay reference approve NEW_NAME-disk --reason "its headers are wanted"',
].join('\n');

/** The next step for a person on a disk. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  mount_not_encrypted: [
    'Move the path’s content to an encrypted volume, and mount that there. On the node, see where the path is stored:',
    '  findmnt --target /var/lib/docker',
    '  lsblk --inverse',
    'Data stored unencrypted stays on the disk until it is overwritten.',
  ].join('\n'),
  path_not_covered: [
    'The lines below the reason show where it is not encrypted. On the node, see what is mounted over the path and below it:',
    '  findmnt --submounts --real',
    'If it is a pod’s volume, encrypt it at its source, or write disk: {volumes: report} into the policy.',
    'If the path is missing on purpose, give the node its own group, or write the name of a set in the policy (disk.paths).',
    compromised,
  ].join('\n'),
  no_reference: [
    'Capture the headers of the node, if you vouch for it:',
    '  assay reference capture NODE --kind disk --name NEW_NAME-disk',
    'And name the reference in the policy (disk.references).',
  ].join('\n'),
  luks_version: [
    'Encrypt the volume with LUKS2; LUKS1 can be converted while it is closed (cryptsetup convert --type luks2). On the node, see which device it is:',
    devices,
    'If LUKS1 is wanted, allow it in the policy (disk.versions). Plain dm-crypt cannot be allowed.',
  ].join('\n'),
  luks_cipher: [
    'Re-encrypt the volume (cryptsetup reencrypt), or allow its cipher in the policy (disk.ciphers, disk.keySize).',
  ].join('\n'),
  luks_null_cipher: ['Nothing on this volume is encrypted, whatever its name says.', compromised].join('\n'),
  luks_header_changed: [capture, compromised].join('\n'),
  luks_header_detached: 'Put the header on the volume, or protect its place as well as the volume.',
  luks_extra_keyslot: [
    'On the node, as root, see which keyslots and tokens its volumes have:',
    '  blkid --match-token TYPE=crypto_LUKS --output device | xargs -n 1 cryptsetup luksDump',
    'Remove what nobody needs (cryptsetup luksKillSlot, cryptsetup token remove).',
    capture,
  ].join('\n'),
  luks_reencrypt_state: [
    'If somebody re-encrypts the volume, wait until it is done; if it was interrupted, continue it (cryptsetup reencrypt --resume-only). On the node, see which device it is:',
    devices,
    compromised,
  ].join('\n'),
  luks_key_shared: [
    'Two volumes are copies of one, for example from an image with an encrypted volume. Re-encrypt one of them, with its own UUID and key.',
    'If neither was cloned on purpose, somebody has a copy of the header: take both nodes out of service.',
  ].join('\n'),
  key_residue: [
    'Remove what the reason names, and encrypt the volume with another key if others may have seen it.',
    'If it is swap, switch that off (swapoff --all, /etc/fstab), encrypt it with a random key (/etc/crypttab), or allow it in the policy (disk.swap: any).',
  ].join('\n'),
  cap_missing: [
    'Until PCR 15 is extended, whoever is root on the node can ask for its disk keys. On the node, see whether the unit that does it ran:',
    '  systemctl status assay-cap',
    'If it is not installed, install it, or leave lease out of the policy. It runs at the next boot:',
    '  systemctl reboot',
    'If it ran, take the node out of service, and find out what answers in its name.',
  ].join('\n'),
  cap_reverted: [
    'If the machine hibernated, that restarted its TPM without a reset. Reboot it, and add nohibernate to its command line.',
    'If not, somebody put its TPM back to an earlier state, and could ask for the keys of its volumes. Keep the evidence, and take the node out of service:',
    '  assay bundle NODE -f NODE.json',
    'Re-encrypt its volumes before they are used again.',
  ].join('\n'),
  volume_exposed: [
    'See when the node was untrusted, and why:',
    '  assay history NODE --transitions',
    'If somebody may have been root then, copy the data to another disk, remove this volume, and set up a new one (docs/disk-keys.md, Replace a key). Another keyslot does not help: it opens the same volume key.',
    'If you know that nobody was, you can write severity: {volume_exposed: info} into the group of the policy. The server never forgets it while the volume has this key.',
  ].join('\n'),
};

/** By what the reason expects: one command on the node shows all that only root can read. */
export const adviceByExpected: ReadonlyMap<string, Advice> = new Map([
  [
    expectedInspection,
    [
      'On the node, as root, have this read for the agent, now and at each boot:',
      '  assay-agent inspect',
      '  systemctl enable --now assay-inspect.timer',
      'If the reason stays, treat the node as untrusted: anybody who controls the agent can fake it.',
    ].join('\n'),
  ],
]);
