import { type FindMount, isPlainPath, type Mount } from './mount-table.ts';

/**
 * Which mounts below a protected path keep nothing of it on a disk of their own, so that agent and server leave them out
 * alike. Containers come and go with them, and no digest moves for that. Attack: an unencrypted file system, or a bind
 * mount, over the path or over a directory below it is never among them.
 *
 * Left out is a mount strictly below the path that is one of these:
 * - a file system of the kernel itself (`kernelFileSystems`, the whole word): no file is stored in it;
 * - an overlay, each layer of which (upper, work and all lower directories) is an absolute path that leads to the mount
 *   on which the overlay itself stands, or to one on which a protected path stands. Those are judged, and hold all that
 *   it holds. Where the kernel names a layer otherwise, the overlay is not left out;
 * - a tmpfs or hugetlbfs where the kubelet puts the secrets and memory of a pod, or Docker the shared memory of a container
 *   (`podMemory`, `volumePlaces`: the whole path below the protected one). It is memory; where that may go to is judged as swap.
 */
export function comesWithContainers(
  mount: Mount,
  path: string,
  { find, standing, byId }: MountsAround,
): boolean {
  if (!isBelow(mount.mountPoint, path)) return false;
  if (kernelFileSystems.has(mount.type)) return true;
  if (mount.type === 'tmpfs' || mount.type === 'hugetlbfs') {
    const place = placeBelow(mount, path);
    return podMemory.test(place) || volumePlaces.some(([, form]) => form.test(place));
  }
  if (mount.type !== 'overlay') return false;
  const layers = overlayLayers(mount);
  const under = byId.get(mount.parent) ?? null;
  const isHeld = (layer: string) => {
    const at = find(layer);
    // Attack: by /proc/1/root a layer leads anywhere.
    if (at === null || at === mount || kernelFileSystems.has(at.type)) return false;
    return at === under || standing.has(at);
  };
  return layers?.every(isHeld) ?? false;
}

export interface MountsAround {
  /** `mountFinder` of the whole table. */
  readonly find: FindMount;
  /** The mounts on which protected paths stand. */
  readonly standing: ReadonlySet<Mount>;
  readonly byId: ReadonlyMap<number, Mount>;
}

/** True for what lies strictly below a path. */
export function isBelow(place: string, path: string): boolean {
  return path === '/' ? place !== '/' : place.startsWith(`${path}/`);
}

/** Memory or views of the kernel. Not `ramfs` and `devtmpfs`: one can store files in these. */
const kernelFileSystems: ReadonlySet<string> = new Set([
  ...['proc', 'sysfs', 'cgroup', 'cgroup2', 'securityfs', 'selinuxfs', 'debugfs', 'tracefs', 'bpf', 'pstore'],
  ...['efivarfs', 'configfs', 'fusectl', 'mqueue', 'devpts', 'binfmt_misc', 'rpc_pipefs', 'nsfs'],
]);

function placeBelow({ mountPoint }: Mount, path: string): string {
  return mountPoint.slice(path === '/' ? 1 : path.length + 1);
}

const podMemory =
  /^(pods\/[^/]+\/volumes\/kubernetes\.io~(secret|projected|downward-api|empty-dir|configmap)\/[^/]+|containers\/[^/]+\/mounts\/(shm|secrets))$/;

const uid = '(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})';
const inTree = '(nfs|iscsi|fc|rbd|cephfs|local-volume|portworx-volume)';

/**
 * Where the kubelet mounts volumes whose data is not its own, below its folder, and which plugin's they are: pkg/volume of
 * Kubernetes 1.33, with rbd and cephfs up to 1.30. What is of no plugin's own (`empty-dir`, `secret`, …) is none of them.
 */
const volumePlaces: readonly (readonly [kind: string, form: RegExp])[] = [
  ['csi', new RegExp(`^pods/${uid}/volumes/kubernetes\\.io~csi/[^/]+/mount$`)],
  ['in-tree', new RegExp(`^pods/${uid}/volumes/kubernetes\\.io~${inTree}/[^/]+$`)],
  ['flexvolume', new RegExp(`^pods/${uid}/volumes/(?!kubernetes\\.io~)[^/~]+~[^/~]+/[^/]+$`)],
  ['subPath', new RegExp(`^pods/${uid}/volume-subpaths/[^/]+/[^/]+/[0-9]+$`)],
  ['block', new RegExp(`^pods/${uid}/volumeDevices/kubernetes\\.io~(csi|${inTree})/[^/]+$`)],
  // Some drivers stage a volume in a folder of its name in there.
  ['csi', /^plugins\/kubernetes\.io\/csi\/(pv\/[^/]+|[^/]+\/[0-9a-f]{64})\/globalmount(\/[^/]+)?$/],
  ['block', /^plugins\/kubernetes\.io\/csi\/volumeDevices\/(staging|publish)\/[^/]+(\/[^/]+)?$/],
  ['block', new RegExp(`^plugins/kubernetes\\.io/csi/volumeDevices/[^/]+/dev/${uid}$`)],
  ['block', new RegExp(`^plugins/kubernetes\\.io/${inTree}/volumeDevices/(iface-[^/]+/)?[^/]+/${uid}$`)],
  ['iscsi', /^plugins\/kubernetes\.io\/iscsi\/iface-[^/]+\/[^/]+-lun-[0-9]+$/],
  ['fc', /^plugins\/kubernetes\.io\/fc\/[^/]+$/],
  ['in-tree', /^plugins\/kubernetes\.io\/(rbd|local-volume)\/mounts\/[^/]+$/],
  ['flexvolume', /^plugins\/kubernetes\.io\/flexvolume\/[^/]+\/[^/]+\/mounts\/[^/]+$/],
];

/**
 * Whose volume of a pod is mounted there: the plugin, `subPath` or `block`; null if it is none, but a part of the kubelet's
 * own folder. What a server in a network adds inside of such a volume is of that volume, too.
 */
export function volumeKind(mount: Mount, path: string, { byId }: Pick<MountsAround, 'byId'>): string | null {
  for (let at = mount; isBelow(at.mountPoint, path); ) {
    const place = placeBelow(at, path);
    for (const [kind, form] of volumePlaces) {
      const found = form.exec(place);
      if (found !== null) return kind === 'in-tree' ? (found[1] ?? kind) : kind;
    }
    const parent = byId.get(at.parent);
    if (parent === undefined || parent.type !== at.type || !networkFileSystems.has(at.type)) return null;
    // Strictly below, so that a table that bites its tail ends, too.
    if (!isBelow(at.mountPoint, parent.mountPoint)) return null;
    at = parent;
  }
  return null;
}

/** They mount what lies below a mount of theirs by themselves, where their server has another file system there. */
const networkFileSystems: ReadonlySet<string> = new Set(['nfs', 'nfs4', 'cifs', 'smb3', 'ceph']);

/**
 * The directories that an overlay is made of, one character a byte, as the kernel shows them in its options
 * (Documentation/filesystems/overlayfs.rst). Null if one cannot be determined, or is no absolute path without links' dots.
 */
export function overlayLayers({ superOptions }: Pick<Mount, 'superOptions'>): readonly string[] | null {
  const layers: string[] = [];
  for (const option of superOptions.split(',')) {
    const equals = option.indexOf('=');
    if (equals < 0) continue;
    const key = option.slice(0, equals);
    const value = option
      .slice(equals + 1)
      .replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    if (key === 'lowerdir') layers.push(...splitLayers(value));
    else if (['upperdir', 'workdir', 'lowerdir+', 'datadir+'].includes(key)) layers.push(value);
  }
  const whole = layers.map((layer) => (layer.length > 1 ? layer.replace(/\/+$/, '') : layer));
  return whole.length > 0 && whole.length <= mostLayers && whole.every(isPlainPath) ? whole : null;
}

/** overlayfs takes 500 lower layers. */
const mostLayers = 1024;

/** A colon separates, two before layers of data; a backslash keeps what follows it. */
function splitLayers(value: string): readonly string[] {
  const layers: string[] = [];
  let layer = '';
  for (let at = 0; at < value.length; at++) {
    const character = value[at] ?? '';
    if (character === '\\' && at + 1 < value.length) layer += value[++at];
    else if (character === ':') {
      if (layer !== '' || value[at - 1] !== ':') layers.push(layer);
      layer = '';
    } else layer += character;
  }
  return [...layers, layer];
}
