import { hash } from 'node:crypto';
import type { InitrdEntry } from '../../../protocol/initrd-manifest.ts';
import { type InitrdContents, isExecutable, typeOf } from './contents.ts';

/** Digests of what dropbear's hook writes of root, the one user that it needs, by path. */
export function loginFiles(contents: InitrdContents): ReadonlyMap<string, ReadonlySet<string>> {
  const passwd = new Set<string>();
  // Attack: folders without end.
  for (const entry of contents.entries())
    if (passwd.size < mostHomes && typeOf(entry) === 'directory' && home.test(entry.path))
      passwd.add(hash('sha256', `root:*:0:0::/${entry.path}:/bin/sh\n`));
  return new Map([
    ['etc/passwd', passwd],
    ['etc/group', new Set([hash('sha256', 'root:!:0:\n')])],
    ['etc/nsswitch.conf', new Set([hash('sha256', 'passwd: files\ngroup: files\n')])],
  ]);
}

const home = /^root-[A-Za-z0-9]{10}$/;
const mostHomes = 4;

/** True for the bytes that overlayroot's hook reads of the kernel's random numbers, for its script to write there. */
export function isSeed(entry: InitrdEntry): boolean {
  return entry.path === '.random-seed' && (entry.bytes ?? 0) <= seedBytes && !isExecutable(entry);
}

const seedBytes = 4096;
