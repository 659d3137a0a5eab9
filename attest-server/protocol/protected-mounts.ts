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
 * - a tmpfs where the kubelet puts the secrets and memory of a pod, or Docker the shared memory of a container
 *   (`podMemory`, the whole path below the protected one). It is memory; where that may go to is judged as swap.
 */
export function comesWithContainers(
  mount: Mount,
  path: string,
  { find, standing, byId }: MountsAround,
): boolean {
  if (!isBelow(mount.mountPoint, path)) return false;
  if (kernelFileSystems.has(mount.type)) return true;
  if (mount.type === 'tmpfs')
    return podMemory.test(mount.mountPoint.slice(path === '/' ? 1 : path.length + 1));
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

const podMemory =
  /^(pods\/[^/]+\/volumes\/kubernetes\.io~(secret|projected|downward-api|empty-dir)\/[^/]+|containers\/[^/]+\/mounts\/(shm|secrets))$/;

/**
 * The directories that an overlay is made of, one character a byte, as the kernel shows them in its options
 * (Documentation/filesystems/overlayfs.rst). Null where one cannot be told, or is no absolute path without links' dots.
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
