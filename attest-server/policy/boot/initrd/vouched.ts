import { hash } from 'node:crypto';
import type { InitrdEntry } from '../../../protocol/initrd-manifest.ts';
import { maskIdentifiers } from '../masked-text.ts';
import type { InitrdContents } from './contents.ts';
import { maskTemporaryNames } from './temporary-names.ts';

/** What a host puts into its initrd and no rule can judge: somebody vouches for it, for all that have the same. */
interface VouchedKind {
  readonly path: RegExp;
  readonly what: string;
  /** Its text is shown, and counts with the identifiers of the machine masked. */
  readonly isText: boolean;
}

const kinds: readonly VouchedKind[] = [
  { path: /^(?:cryptroot|etc)\/crypttab$/, what: 'which disks are opened, and how', isText: true },
  { path: /^etc\/fstab(?:\..+)?$/, what: 'what is mounted', isText: true },
  {
    path: /^etc\/(?:mdadm\.conf|mdadm\/mdadm\.conf(?:\.tmp)?)$/,
    what: 'which RAID arrays are started',
    isText: true,
  },
  {
    path: /^(?:etc\/cmdline\.d\/[^/]+\.conf|etc\/cmdline)$/,
    what: 'more words of the command line',
    isText: true,
  },
  {
    path: /^(?:etc|usr\/lib)\/(?:systemd\/network\/[^/]+|netplan\/[^/]+)$|^run\/net[^/]*\.conf$/,
    what: 'settings of the network',
    isText: true,
  },
  { path: /^conf\/|^etc\/conf\.d\/[^/]+$/, what: 'settings that are run as shell', isText: true },
  { path: /^usr\/bin\/setupcon$/, what: 'how the keyboard is set up, which is run as shell', isText: true },
  { path: /^etc\/initiatorname\.iscsi$/, what: 'as what this host asks for disks', isText: true },
  { path: /^etc\/multipath\/(?:wwids|bindings)$/, what: 'which disks are one', isText: true },
  { path: /^etc\/modprobe\.d\/[^/]+$/, what: 'how modules are loaded, which may run programs', isText: true },
  {
    path: /^(?:etc|usr\/lib)\/udev\/rules\.d\/[^/]+$/,
    what: 'rules of udev, which may run programs',
    isText: false,
  },
  { path: /\/hwdb\.bin$/, what: 'made by systemd-hwdb, the same where its packages are', isText: false },
  {
    path: /^kernel\/x86\/microcode\//,
    what: 'microcode, the same where its package and processors are',
    isText: false,
  },
  { path: /^etc\/(?:passwd|group|shadow|gshadow)-?$/, what: 'users', isText: false },
  {
    path: /^etc\/(?:default\/|console-setup\/|boottime\.kmap|vconsole\.conf)/,
    what: 'keyboard and console',
    isText: false,
  },
  { path: /(?:^|\/)(?:\.ssh|dropbear|keyfiles)\//, what: 'keys', isText: false },
];

export function vouchedKind({ path }: InitrdEntry): VouchedKind | null {
  return kinds.find((kind) => kind.path.test(path)) ?? null;
}

/** Bytes of a text that counts so; a longer one counts by its digest alone. */
const longestAlike = 64 * 1024;

/** What stands in a list for the text of such a file on all machines that are alike; null where it is no text. */
export function alikeDigest(entry: InitrdEntry, contents: InitrdContents): Buffer | null {
  const bytes = vouchedKind(entry)?.isText === true ? contents.bytesOf(entry) : null;
  // Attack: texts of a megabyte, each masked at one go.
  if (bytes === null || bytes.length > longestAlike) return null;
  const text = maskTemporaryNames(maskIdentifiers(bytes.toString('latin1')));
  return hash('sha256', `alike\0${text}`, 'buffer');
}

/**
 * Why a crypttab that somebody vouches for is no good in this initrd: the script that gives it keys is run. Attack: the same
 * crypttab beside another script.
 */
export function keyScriptFault(entry: InitrdEntry, contents: InitrdContents): string | null {
  if (!/^(?:cryptroot|etc)\/crypttab$/.test(entry.path)) return null;
  const text = contents.bytesOf(entry)?.toString('latin1') ?? '';
  for (const [, script = ''] of text.matchAll(/(?:^|[\s,])keyscript=([^\s,]+)/gm)) {
    const path = script.includes('/') ? script : `/usr/lib/cryptsetup/scripts/${script}`;
    if (contents.at(path) === null) return `its keyscript ${script} is not there`;
  }
  return null;
}
