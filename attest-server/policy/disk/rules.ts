/** The rules of a group on the disks below its paths. All of it is the node's word. */
export interface DiskRules {
  readonly paths: readonly ProtectedPath[];
  readonly versions: readonly LuksVersion[];
  /** Globs on cipher, mode and IV of the live mapping: `aes-xts-plain64`. */
  readonly ciphers: readonly string[];
  /** Bits of the live mapping's key, at least; of XTS it is both halves, as cryptsetup counts. */
  readonly keySize: number;
  /** How many keyslots a volume may have that no reference knows. */
  readonly keyslots: number;
  /** Names of the references of which one must know each volume; null: those of the group, where there are some. */
  readonly references: readonly string[] | null;
  /** `any`: where memory is swapped out to is not judged. */
  readonly swap: 'encrypted' | 'any';
  /** Volumes of pods whose data is not the kubelet's: `report` leaves them to their owners. */
  readonly volumes: 'report' | 'encrypted';
  /** `required`: each boot must be capped once its disks are open, so that nobody gets their keys after that. */
  readonly lease: 'none' | 'required';
}

export interface ProtectedPath {
  readonly path: string;
  /** False for one of a name set: it counts where the node has it. */
  readonly required: boolean;
}

export const luksVersions = ['luks2', 'luks1'] as const;
export type LuksVersion = (typeof luksVersions)[number];

/** Where programs keep what containers and pods store. */
export const nameSets = {
  docker: '/var/lib/docker',
  containerd: '/var/lib/containerd',
  kubelet: '/var/lib/kubelet',
} as const;
export type NameSet = keyof typeof nameSets;

export function isNameSet(word: string): word is NameSet {
  return Object.hasOwn(nameSets, word);
}

/** The rules of a policy that says nothing of disks. */
export const defaultDiskRules: DiskRules = {
  paths: Object.values(nameSets).map((path) => ({ path, required: false })),
  versions: ['luks2'],
  ciphers: ['aes-xts-plain64', 'aes-xts-plain', 'aes-xts-random'],
  keySize: 256,
  keyslots: 1,
  references: null,
  swap: 'encrypted',
  volumes: 'report',
  lease: 'none',
};
