import { busyboxApplets } from './busybox-applets.ts';

/** A file of a package that those who make initrds put elsewhere: the path of the package's, and that in the initrd. */
interface Move {
  readonly from: RegExp;
  readonly to: RegExp;
}

/** What each group of `from` found must be found by the same group of `to`. Attack: a known program in place of another one. */
const moves: readonly Move[] = [
  // initramfs-tools' mkinitramfs, and the hooks of klibc and cryptsetup.
  { from: /^\/usr\/share\/initramfs-tools\/(?<name>init)$/, to: /^\/(?<name>init)$/ },
  {
    from: /^\/(?:usr\/share|etc)\/initramfs-tools\/(?<name>scripts\/.+)$/,
    to: /^\/(?<name>scripts\/.+)$/,
  },
  {
    from: /^\/(?:usr\/share|etc)\/initramfs-tools\/(?<name>(?:conf\.d\/[^/]+|initramfs\.conf))$/,
    to: /^\/conf\/(?<name>.+)$/,
  },
  {
    from: /^\/usr\/(?:lib\/klibc|share\/cryptsetup\/initramfs)\/bin\/(?<name>[^/]+)$/,
    to: /^\/usr\/s?bin\/(?<name>[^/]+)$/,
  },
  { from: /^\/usr\/bin\/(?<name>busybox)$/, to: /^\/usr\/lib\/initramfs-tools\/bin\/(?<name>busybox)$/ },
  { from: /^\/usr\/lib\/initramfs-tools\/bin\/(?<name>busybox)$/, to: /^\/usr\/bin\/(?<name>busybox)$/ },
  // plymouth's hook.
  { from: /^\/usr\/lib\/(?<name>os-release)$/, to: /^\/etc\/(?<name>os-release)$/ },
  // One program, in whichever of both folders.
  { from: /^\/usr\/s?bin\/(?<name>[^/]+)$/, to: /^\/usr\/s?bin\/(?<name>[^/]+)$/ },
  // dracut: each module says where its files go; hooks get a number.
  {
    from: /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/(?<name>[^/]+\.sh)$/,
    to: /^\/(?:usr|var)\/lib\/dracut\/hooks\/(?:[^/]+\/){1,2}\d{2}-(?<name>[^/]+)$/,
  },
  {
    from: /^\/usr\/lib\/dracut\/(?:modules\.d\/[^/]+\/)?(?<name>[^/]+?)(?:\.sh)?$/,
    to: /^\/(?:usr\/(?:bin|sbin|lib|libexec)\/)?(?<name>[^/]+?)(?:\.sh)?$/,
  },
  {
    from: /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/(?<name>[^/]+?)(?:\.sh)?$/,
    to: /^\/usr\/lib\/(?:systemd\/system-generators\/)?dracut-(?<name>[^/]+?)(?:\.sh)?$/,
  },
  {
    from: /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/(?<name>[^/]+)$/,
    to: /^\/(?:etc|usr\/lib)\/(?:udev\/rules\.d|udev|systemd\/(?:system|network|[a-z]+\.conf\.d)|NetworkManager\/conf\.d|tmpfiles\.d|sysusers\.d|modprobe\.d|sysctl\.d)\/(?<name>[^/]+)$/,
  },
  {
    from: /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/emergency\.service$/,
    to: /^\/usr\/lib\/systemd\/system\/rescue\.service$/,
  },
];

/**
 * True where a file of this path is put at the other one when an initrd is made.
 * @param from path of the file in its package @param to path in the initrd; both begin with a slash, and below /usr
 */
export function isMoved(from: string, to: string): boolean {
  return moves.some((move) => {
    const source = move.from.exec(from);
    const place = source === null ? null : move.to.exec(to);
    return place !== null && source?.groups?.name === place.groups?.name;
  });
}

/**
 * Busybox does what it is called by: its hooks make these names on the host, as hard links. Attack: it is put in the place of a
 * program that it is not, so that this one fails.
 */
export function isApplet(from: string, to: string): boolean {
  const name = /^\/usr\/s?bin\/([^/]+)$/.exec(to)?.[1];
  return name !== undefined && busybox.test(from) && busyboxApplets.has(name);
}

const busybox = /^\/usr\/(?:bin|lib\/initramfs-tools\/bin)\/busybox$/;
