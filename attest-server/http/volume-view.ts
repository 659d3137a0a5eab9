import type { NextBootView } from '../api/node-api.ts';
import type { VolumeView } from '../api/volume-api.ts';
import type { RefusedBoot, Volume } from '../keys/ports.ts';
import { leasedCipher } from '../wire/luks-header.ts';
import type { ApiPorts } from './ports.ts';

/**
 * @param groupOf its policy names who recovers volumes at present
 * @param ekDigest the TPM that is the node of that name at present; null if none is
 * @param refused why its latest boot got no key; null if it got one, or did not ask
 */
export function shownVolume(
  volume: Volume,
  groupOf: ApiPorts['groupOf'],
  ekDigest: string | null,
  refused: RefusedBoot | null = null,
  nextBoot: NextBootView | null = null,
): VolumeView {
  const { node, name, path, uuid, headerDigest, createdBy, rotation, recipients } = volume;
  return {
    node,
    name,
    path,
    uuid,
    ek: volume.ekDigest,
    enrolled: volume.ekDigest === ekDigest,
    header: headerDigest,
    cipher: headerDigest === null ? null : leasedCipher,
    recipients: {
      passphrase: recipients.passphrase && [...recipients.passphrase],
      header: recipients.header && [...recipients.header],
      policy: [...(groupOf(node).keys?.recoveryRecipients ?? [])],
    },
    createdAt: new Date(volume.createdAt).toISOString(),
    createdBy,
    formattedAt: momentOf(volume.formattedAt),
    releasedAt: momentOf(volume.releasedAt),
    unlockedAt: momentOf(volume.cappedAt),
    revoked: volume.revoked && { ...volume.revoked, at: new Date(volume.revoked.at).toISOString() },
    nextBoot: volume.ekDigest === ekDigest ? nextBoot : null,
    rotation: rotation && {
      since: new Date(rotation.since).toISOString(),
      by: rotation.by,
      begun: rotation.headerDigest !== null,
    },
    refused: refused && { code: refused.code, text: refused.text, at: new Date(refused.at).toISOString() },
  };
}

/** The lines and steps by which its node gets a volume that was just made (docs/disk-keys.md). */
export function setUpVolume({ node, name, path, uuid }: Volume): {
  readonly crypttab: string;
  readonly fstab: string;
  readonly next: string;
} {
  // Without nofail, until it is open or the time for the recovery passphrase is over, the console belongs to its question.
  const crypttab = `${name} UUID=${uuid} /run/cryptsetup-keys.d/${name}.key luks,_netdev,timeout=5min`;
  const options = [
    '_netdev,nofail',
    // That unit makes the file system, once the boot is capped.
    `x-systemd.requires=assay-volume@${name}.service`,
    // Else its first answer may have the path on another file system: `mount_not_encrypted`, and then `volume_exposed` for good.
    'x-systemd.before=assay-agent.service',
  ];
  const fstab = `/dev/mapper/${name} ${path} ext4 ${options.join()} 0 2`;
  const next = [
    `On ${node}, as root, format a blank partition or disk, once. Name yours, by a link that stays:`,
    `  assay-agent format --config /etc/assay/unlock.yaml --volume ${uuid} --device /dev/disk/by-partlabel/${name}`,
    'Add this line to /etc/crypttab:',
    `  ${crypttab}`,
    'and this one to /etc/fstab:',
    `  ${fstab}`,
    'Name the volume for its unit, and enable the units. It is opened at the next boot:',
    `  echo ASSAY_UNLOCK_VOLUME=${uuid} > /etc/default/assay-unlock-${name}`,
    `  systemctl daemon-reload && systemctl enable assay-unlock@${name}.socket assay-volume@${name}.service assay-rotate@${name}.service assay-cap.service`,
  ].join('\n');
  return { crypttab, fstab, next };
}

function momentOf(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
