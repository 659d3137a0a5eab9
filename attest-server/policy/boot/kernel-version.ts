import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { filePcr } from '../../wire/loader-files.ts';
import { parseCommandLine } from '../command-line.ts';

/** As kernels are called: `6.12.118+deb13-amd64`, `5.14.0-183.el9.x86_64`. */
const version = '(\\d+\\.\\d+[\\w.+~-]*?)';
const kernelName = new RegExp(
  `(?:^|/)(?:(?:vmlinuz|vmlinux|linux|kernel|Image|bzImage)-${version}|${version}/(?:vmlinuz|linux|kernel|Image))(?:\\.efi)?(?:\\.signed)?$`,
);
const initrdName = new RegExp(
  `(?:^|/)(?:(?:initrd\\.img|initrd|initramfs)-${version}|${version}/(?:initrd|initramfs))(?:\\.img)?(?:\\.gz)?$`,
);

/** The version that the name of a kernel's or an initrd's file ends with; null if it has none. */
export function versionInName(path: string): string | null {
  const match = kernelName.exec(path) ?? initrdName.exec(path);
  return match?.[1] ?? match?.[2] ?? null;
}

/** As far as a component says which version it is. */
interface VersionSource {
  readonly pcr: number | null;
  readonly stage: string;
  readonly kind: string | null;
  readonly text: string | null;
  readonly description: string;
}

/** The version that a reference is of: what it names, and the names of its files; null if that is none, or several. */
export function versionOfReference(components: readonly VersionSource[]): string | null {
  const named = components.flatMap(({ pcr, stage, kind, text, description }) => {
    if (kind === 'cmdline' && pcr === 8 && text !== null) return parseCommandLine(text).image ?? [];
    return isFile({ pcr, stage, kind }) ? description : [];
  });
  return onlyVersion(named);
}

/**
 * The version that a boot is of: that of the known kernel or initrd whose file it measured, as references call it.
 * Attack: a version in a path says nothing. Another file may lie there, and a known file under the name of another one.
 * @param known what references have in place of a component
 */
export function versionOfBoot(
  components: readonly BootComponent[],
  known: (component: BootComponent) => readonly VersionSource[],
): string | null {
  const files = components.filter(isFile).flatMap(known);
  return onlyVersion(
    files.flatMap((one) => (isFile({ ...one, pcr: one.pcr ?? filePcr }) ? one.description : [])),
  );
}

function isFile({ pcr, stage, kind }: Pick<VersionSource, 'pcr' | 'stage' | 'kind'>): boolean {
  return pcr === filePcr && kind === 'file' && (stage === 'kernel' || stage === 'initrd');
}

function onlyVersion(names: readonly string[]): string | null {
  const found = new Set(names.flatMap((name) => versionInName(name) ?? []));
  const [only] = found;
  return found.size === 1 ? (only ?? null) : null;
}

const readsFiles = /^(?:initrd(?:efi|16)?|devicetree) /;

/** A command without this version in the names of files that a loader reads and measures; no other word changes. */
export function withoutVersion(command: string, named: string): string {
  if (!readsFiles.test(command)) return command;
  return command
    .split(' ')
    .map((word) => (isPath(word) ? maskedPath(word, named) : word))
    .join(' ');
}

/** `newc:NAME:FILE` is none: it also says how the file is called in the initrd. */
function isPath(word: string): boolean {
  return /^(?:\([^()\s:]*\))?\/[^:\s]*$/.test(word);
}

function maskedPath(path: string, named: string): string {
  const parts = path.split('/').map((part) => {
    if (part === named) return '<version>';
    const bare = part.replace(/(?:\.img)?(?:\.gz)?$/, '');
    if (!bare.endsWith(`-${named}`)) return part;
    return `${bare.slice(0, -named.length)}<version>${part.slice(bare.length)}`;
  });
  return parts.join('/');
}
