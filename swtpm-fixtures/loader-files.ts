import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LogEvent, parseEventLog } from '../attest-server/verify/tpm/event-log.ts';
import { digestsOf } from './remeasure.ts';
import { type EventChange, rewriteLog } from './rewrite-log.ts';

/** The files that a machine which wrote this log has: those that were recorded with it, and those that are made up. */
export function filesOf(log: Buffer): ReadonlyMap<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const { describes, digests } of parseEventLog(log).events.filter(isLoaderFile)) {
    const content = [...recorded, madeFile(describes), siblingFile(describes)].find(
      (one) => digests.sha256 === hash('sha256', one, 'hex'),
    );
    if (content !== undefined) files.set(pathOf(describes), content);
  }
  return files;
}

/** The log of the same machine with made-up files in the places of those that nobody recorded. */
export function withMadeFiles(log: Buffer): Buffer {
  const known = filesOf(log);
  const changes = new Map<number, EventChange>();
  for (const { index, describes } of parseEventLog(log).events.filter(isLoaderFile))
    if (!known.has(pathOf(describes))) changes.set(index, { digest: digestsOf(() => madeFile(describes)) });
  return rewriteLog(log, changes);
}

/** What a sibling has in the place of this file. */
export function siblingFile(name: string): Buffer {
  return Buffer.from(`# of the sibling: ${name}\n`);
}

const recorded = ['debian13-shim-grub', 'debian13-shim-grub-cmdline'].map((name) =>
  readFileSync(new URL(`recorded/${name}/grub.cfg`, import.meta.url)),
);

function isLoaderFile({ pcr, type, stage }: LogEvent): boolean {
  return pcr === 9 && type === 'EV_IPL' && stage === 'loader';
}

/** By the kind that its name has. */
function madeFile(name: string): Buffer {
  if (name.endsWith('grubenv'))
    return Buffer.from('# GRUB Environment Block\nboot_success=1\nboot_indeterminate=0\n'.padEnd(1024, '#'));
  if (name.endsWith('.pf2')) return font;
  return name.endsWith('.mod') ? grubModule : Buffer.from(`# made up: ${name}\n`);
}

const section = (name: string, data: Buffer) => {
  const head = Buffer.alloc(8, name, 'latin1');
  head.writeUInt32BE(data.length, 4);
  return Buffer.concat([head, data]);
};
/** As small as a font of GRUB's can be. */
export const font = Buffer.concat([
  section('FILE', Buffer.from('PFF2')),
  section('NAME', Buffer.from('Unifont\0')),
  section('DATA', Buffer.alloc(0)),
]);

/** A relocatable ELF object with one section more than its table of names. */
export const grubModule = (() => {
  const names = Buffer.from('\0.modname\0.shstrtab\0', 'latin1');
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(1, 16);
  header.writeUInt16LE(0x3e, 18);
  header.writeBigUInt64LE(BigInt(64 + names.length), 40);
  for (const [value, at] of [
    [64, 58],
    [3, 60],
    [2, 62],
  ] as const)
    header.writeUInt16LE(value, at);
  const table = Buffer.alloc(3 * 64);
  table.writeUInt32LE(1, 64);
  table.writeUInt32LE(10, 128);
  table.writeBigUInt64LE(64n, 128 + 24);
  table.writeBigUInt64LE(BigInt(names.length), 128 + 32);
  return Buffer.concat([header, names, table]);
})();

/** Below the root of a machine that has its partitions in /boot, each under the name that GRUB gives it. */
function pathOf(name: string): string {
  const path = name.replace(/^grub_module /, '').replace(/^\(([^)]*)\)/, '/$1');
  return join('boot', path);
}
