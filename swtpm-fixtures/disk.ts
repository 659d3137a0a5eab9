import { hash } from 'node:crypto';
import { type InspectedFile, inspectedDiskFile, inspectFolder } from '../agent/inspect/inspected-file.ts';

/** A LUKS2 volume, as `cryptsetup luksFormat` makes it: what no other volume has. */
export interface Volume {
  readonly uuid: string;
  readonly mapping: string;
}

/** Where the second disk of each machine is mounted. */
export const dockerPath = 'var/lib/docker';
export const mountTablePath = 'proc/1/mountinfo';
/** What `assay-agent inspect` leaves for the agent. */
export const inspectedPath = `${inspectFolder}/${inspectedDiskFile}`;

/** The second disk: the whole of it LUKS2, a file system on the mapping. */
export function volumeOf(uuid: string): Volume {
  return { uuid, mapping: 'docker_crypt' };
}

/** What the kernel shows of a machine whose container storage is encrypted, and what `inspect` read of it as root. */
export function diskFiles(volume: Volume, at: Date): Readonly<Record<string, string>> {
  const dm = 'sys/devices/virtual/block/dm-0';
  return {
    [mountTablePath]: mountTable(volume),
    'proc/swaps': 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n',
    [`${rootDisk}/dev`]: '254:0\n',
    [`${secondDisk}/dev`]: '254:48\n',
    [`${dm}/dev`]: '253:0\n',
    [`${dm}/dm/name`]: `${volume.mapping}\n`,
    [`${dm}/dm/uuid`]: `CRYPT-LUKS2-${volume.uuid.replaceAll('-', '')}-${volume.mapping}\n`,
    [`${dm}/dm/suspended`]: '0\n',
    [`${dockerPath}/engine-id`]: '',
    [inspectedPath]: inspectedDisk(volume, at),
  };
}

/** Links of sysfs by their path: they lead to each other as the kernel's do. */
export const diskLinks: Readonly<Record<string, string>> = {
  'sys/dev/block/254:0': '../../devices/pci0000:00/0000:00:04.0/virtio1/block/vda',
  'sys/dev/block/254:48': '../../devices/pci0000:00/0000:00:05.0/virtio2/block/vdd',
  'sys/dev/block/253:0': '../../devices/virtual/block/dm-0',
  'sys/block/vda': '../devices/pci0000:00/0000:00:04.0/virtio1/block/vda',
  'sys/block/vdd': '../devices/pci0000:00/0000:00:05.0/virtio2/block/vdd',
  'sys/block/dm-0': '../devices/virtual/block/dm-0',
  'sys/class/block/vda': '../../devices/pci0000:00/0000:00:04.0/virtio1/block/vda',
  'sys/class/block/vdd': '../../devices/pci0000:00/0000:00:05.0/virtio2/block/vdd',
  'sys/class/block/dm-0': '../../devices/virtual/block/dm-0',
  'sys/devices/virtual/block/dm-0/slaves/vdd': '../../../../pci0000:00/0000:00:05.0/virtio2/block/vdd',
  'sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vdd/holders/dm-0':
    '../../../../../../virtual/block/dm-0',
};

/** /proc/1/mountinfo, in which the mapping is mounted where containers are stored. */
export function mountTable(volume: Volume): string {
  return [
    '24 27 0:22 / /proc rw,relatime - proc proc rw',
    '25 27 0:23 / /sys rw,relatime - sysfs sys rw',
    '26 27 0:6 / /dev rw,relatime - devtmpfs dev rw,size=464988k,nr_inodes=116247,mode=755,inode64',
    '27 1 254:0 / / rw,noatime - ext4 /dev/vda rw',
    '28 27 0:24 / /run rw,relatime - tmpfs run rw,mode=755,inode64',
    '29 27 0:25 / /tmp rw,relatime - tmpfs tmp rw,inode64',
    '31 25 0:7 / /sys/kernel/security rw,relatime - securityfs securityfs rw',
    `34 27 253:0 / /${dockerPath} rw,relatime - ext4 /dev/mapper/${volume.mapping} rw`,
    '',
  ].join('\n');
}

/** What containers are stored on. */
export type Storage = 'encrypted' | 'bound over' | 'plain';

/**
 * The table of such a machine. `bound over`: a directory of the unencrypted root disk lies over the volume. `plain`: the
 * volume was unmounted, and that directory is in its place.
 */
export function mountTableOf(volume: Volume, storage: Storage): string {
  const encrypted = mountTable(volume);
  if (storage === 'encrypted') return encrypted;
  const plain = (parent: number) =>
    `35 ${parent} 254:0 /srv/plain /${dockerPath} rw,noatime - ext4 /dev/vda rw\n`;
  return storage === 'bound over' ? encrypted + plain(34) : encrypted.replace(/^34 .*\n/m, plain(27));
}

/** disk.json, as `inspect` writes it: header and live mapping, each of which only root can read. */
export function inspectedDisk({ uuid }: Volume, at: Date): string {
  const device = '254:48';
  const metadata = luks2Metadata(uuid);
  const file: InspectedFile = {
    version: 1,
    inspected: {
      at: at.toISOString(),
      headers: [
        {
          device,
          detachedAt: null,
          version: 2,
          uuid,
          digest: hash('sha256', `header ${uuid} ${metadata}`, 'hex'),
          metadata,
          luks1: null,
        },
      ],
      unreadable: [],
      swaps: [],
      residue: [],
    },
    tables: {
      '253:0': [`0 491520 crypt aes-xts-plain64 :64:logon:cryptsetup:${uuid}-d0 0 ${device} 32768`],
    },
    tablesUnread: null,
  };
  return JSON.stringify(file);
}

const rootDisk = 'sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda';
const secondDisk = 'sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vdd';

/** Salts and the digest of the volume key are of this volume alone, as random ones would be. */
function luks2Metadata(uuid: string): string {
  const own = (what: string) => hash('sha256', `${what} ${uuid}`, 'base64');
  return JSON.stringify({
    keyslots: {
      '0': {
        type: 'luks2',
        key_size: 64,
        af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
        area: {
          type: 'raw',
          offset: '32768',
          size: '258048',
          encryption: 'aes-xts-plain64',
          key_size: 64,
        },
        kdf: { type: 'argon2id', time: 4, memory: 65536, cpus: 2, salt: own('keyslot') },
      },
    },
    tokens: {},
    segments: {
      '0': {
        type: 'crypt',
        offset: '16777216',
        size: 'dynamic',
        iv_tweak: '0',
        encryption: 'aes-xts-plain64',
        sector_size: 512,
      },
    },
    digests: {
      '0': {
        type: 'pbkdf2',
        keyslots: ['0'],
        segments: ['0'],
        hash: 'sha256',
        iterations: 1000,
        salt: own('salt'),
        digest: own('volume key'),
      },
    },
    config: { json_size: '12288', keyslots_size: '16744448' },
  });
}
