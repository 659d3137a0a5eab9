import { busyboxApplets } from './busybox-applets.ts';

/** Links that those who make initrds write, whatever the packages: path and target. */
const written: readonly (readonly [RegExp, RegExp])[] = [
  [/^(?:bin|sbin|lib|lib32|lib64|libx32)$/, /^\/?usr\/(?:bin|sbin|lib|lib32|lib64|libx32)$/],
  [/^usr\/sbin$/, /^(?:\/usr\/)?bin$/],
  [/^etc\/mtab$/, /^(?:\.\.)?\/proc\/(?:self\/)?mounts$/],
  [/^var\/(?:run|lock)$/, /^(?:\.\.)?\/run(?:\/lock)?$/],
  [/^(?:init|usr\/sbin\/init)$/, /^(?:\/?usr|\.\.)\/lib\/systemd\/systemd$/],
  [/^(?:etc|usr\/lib)\/(?:initrd|os)-release$/, /^(?:(?:\.\.|\/)\/?usr\/lib\/)?(?:initrd|os)-release$/],
  [/^usr\/lib\/systemd\/system\/default\.target$/, /^initrd\.target$/],
  [/^usr\/lib\/dracut\/hooks$/, /^(?:\.\.\/)*\/?var\/lib\/dracut\/hooks$/],
  [/^usr\/bin\/dracut-getargs?$/, /^dracut-util$/],
  // dracut keeps udev's rules from asking a logind that is not there.
  [/^usr\/bin\/loginctl$/, /^true$/],
];

const wanted =
  /^etc\/systemd\/system\/(?:initrd\.target\.wants\/(?:dracut-[a-z-]+|nm-initrd|nm-wait-online-initrd)|network-online\.target\.wants\/nm-wait-online-initrd)\.service$/;
const unit = /^(?:\.\.\/|\/usr\/lib\/systemd\/system\/)([^/]+)$/;
const library = /^usr\/lib(?:32|64|x32)?\/(?:[^/]+\/)?([^/]+\.so(?:\.[^/]+)?)$/;
const program = /^usr\/s?bin\/([^/]+)$/;

/** True for a link that some rule knows by its path and target. What it leads to is judged where that lies. */
export function isKnownLink(path: string, target: string): boolean {
  if (written.some(([at, to]) => at.test(path) && to.test(target))) return true;
  const name = path.slice(path.lastIndexOf('/') + 1);
  // Attack: a unit that is known and wanted by nobody, as debug-shell.service, is wanted here.
  if (wanted.test(path)) return unit.exec(target)?.[1] === name;
  if (library.test(path)) return isLibraryName(name, target);
  const its = program.exec(path)?.[1];
  if (its === undefined) return false;
  const to = /^(?:\.\.\/s?bin\/|\/(?:usr\/)?s?bin\/)?([^/]+)$/.exec(target)?.[1];
  return (to === its && target !== its) || (to === 'busybox' && busyboxApplets.has(its));
}

/** Attack: a library under the name of another one. */
function isLibraryName(name: string, target: string): boolean {
  return !target.includes('/') && target.startsWith(`${name}.`);
}
