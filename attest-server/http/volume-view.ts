import type { VolumeView } from '../api/volume-api.ts';
import type { Volume } from '../keys/ports.ts';

/** @param ekDigest the TPM that is the node of that name at present; null if none is */
export function shownVolume(volume: Volume, ekDigest: string | null): VolumeView {
  const { node, name, path, uuid, headerDigest, createdBy } = volume;
  return {
    node,
    name,
    path,
    uuid,
    ek: volume.ekDigest,
    enrolled: volume.ekDigest === ekDigest,
    header: headerDigest,
    createdAt: new Date(volume.createdAt).toISOString(),
    createdBy,
    formattedAt: momentOf(volume.formattedAt),
    releasedAt: momentOf(volume.releasedAt),
    unlockedAt: momentOf(volume.cappedAt),
  };
}

/** The lines and steps by which its node gets a volume that was just made. */
export function setUpVolume({ node, name, path, uuid }: Volume): {
  readonly crypttab: string;
  readonly fstab: string;
  readonly next: string;
} {
  const crypttab = [
    name,
    `UUID=${uuid}`,
    `/run/cryptsetup-keys.d/${name}.key`,
    // Without nofail, until it is open or the time for the recovery passphrase is over, the console belongs to its question.
    'luks,_netdev,timeout=5min',
  ].join(' ');
  const fstab = [
    `/dev/mapper/${name}`,
    path,
    'ext4',
    // x-systemd.makefs would wait without end for a blank mapping. An instance has its name as systemd-escape writes it.
    `_netdev,nofail,x-systemd.device-timeout=0,x-systemd.requires=assay-volume@${name.replaceAll('-', '\\x2d')}.service`,
    '0 2',
  ].join(' ');
  const next = [
    `On ${node}, as root, install the units of disk keys (docs/disk-keys.md), and add this line to /etc/crypttab:`,
    `  ${crypttab}`,
    'and this one to /etc/fstab:',
    `  ${fstab}`,
    'Then format a blank disk or partition, once. Name yours (lsblk --paths --fs):',
    `  assay-agent format --volume ${uuid} --device /dev/disk/by-partlabel/${name}`,
  ].join('\n');
  return { crypttab, fstab, next };
}

function momentOf(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
