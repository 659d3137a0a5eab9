/**
 * The host program that reads what only root can (raw headers of disks, mapping tables, GRUB's files, digests
 * of initrds, and with --initrd the booted one; and what is `installed` for the next boot) into /run/assay/inspect. Collectors read it there through
 * `inspected-file` and `boot-copies`.
 */

import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type InstalledPart, parseInstalled } from '../../attest-server/wire/installed.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import { parseJson } from '../../attest-server/wire/parse-json.ts';
import { AgentError } from '../agent-error.ts';
import { readBounded } from '../collectors/read-bounded.ts';
import type { Logger } from '../logger.ts';
import { inspectBoot } from './boot.ts';
import { type BootIndex, bootFolder } from './boot-index.ts';
import { inspectDisk } from './disk.ts';
import {
  inspectedDiskBytes,
  inspectedDiskFile,
  inspectFolder,
  parseInspectedFile,
} from './inspected-file.ts';
import { inspectInstalled, installedFile, writtenInstalled } from './installed.ts';
import { type OutFolder, openOutFolder, readers } from './out-folder.ts';

const allParts = ['disk', 'boot'] as const;
type InspectPart = (typeof allParts)[number];

/** As it is typed. */
export interface InspectCommand {
  /** None is all. */
  readonly parts: readonly string[];
  readonly sysroot: string;
  readonly out?: string | undefined;
  /** Whose members may read it. */
  readonly group?: string | undefined;
  /** Copies the initrd that was booted, where not everybody may read it. */
  readonly initrd?: boolean | undefined;
  /** `json`: the summary goes to stdout. */
  readonly output?: string | undefined;
}

/**
 * The program: one line of log, and the status that it ends with.
 * @throws AgentError `out_folder`
 */
export async function runInspect(
  { parts, sysroot, out, group = readers, initrd = false, output }: InspectCommand,
  logger: Logger,
  stdout: { readonly write: (text: string) => unknown },
): Promise<0 | 1> {
  const named = allParts.filter((part) => parts.length === 0 || parts.includes(part));
  const summary = await inspect({ parts: named, sysroot, out: out ?? null, group, initrd });
  const { disk, boot, readable, causes } = summary;
  const isWritten = typeof disk !== 'string' && typeof boot !== 'string';
  const line = { code: 'inspected', ...summary, causes: causes.slice(0, 16) };
  if (!isWritten) logger.error(line, 'a part could not be written: what was there before stands');
  else if (!readable) logger.warn(line, `there is no group ${group}: the agent cannot read it`);
  else if (causes.length > 0) logger.warn(line, 'wrote what could be read');
  else logger.info(line, 'wrote what only root can read');
  if (output === 'json') stdout.write(`${JSON.stringify(summary)}\n`);
  return isWritten ? 0 : 1;
}

interface InspectOptions {
  readonly parts: readonly InspectPart[];
  /** Stands for `/` when devices, /proc, /sys, /etc, /run and /boot are read. */
  readonly sysroot: string;
  /** Where it writes; null is /run/assay/inspect below the root. */
  readonly out: string | null;
  readonly group: string;
  readonly initrd: boolean;
}

/** How much was seen, for a log line; `null` for a part that was not asked for, a text where it could not be written. */
interface InspectSummary {
  readonly out: string;
  /** False: the machine has no such group, and nobody but root may read it. */
  readonly readable: boolean;
  readonly disk:
    | { readonly [count in 'headers' | 'unreadable' | 'tables' | 'swaps' | 'residue']: number }
    | string
    | null;
  readonly boot: { readonly [count in 'files' | 'copies' | 'initrds' | 'unread']: number } | string | null;
  /** Causes why something could be read only in part. */
  readonly causes: readonly string[];
}

/** The most looks at disks that change meanwhile. */
const looks = 3;

/**
 * Reads what only root can and writes it where the agent reads it. One part that fails leaves the other alone.
 * @throws AgentError `out_folder`
 */
async function inspect({ parts, sysroot, out, group, initrd }: InspectOptions): Promise<InspectSummary> {
  // The agent's user goes through the folders that lead there.
  process.umask(0o022);
  const root = resolve(sysroot);
  // One that was mistyped is not made.
  const found = await stat(root).catch(() => null);
  if (!found?.isDirectory()) throw new AgentError('out_folder', `there is no folder ${root}: see --sysroot`);
  const folder = resolve(out ?? join(root, inspectFolder));
  const groups = await readBounded(join(root, 'etc/group'), 4 * 1024 * 1024);
  await using written = await openOutFolder(folder, groups, group);
  const causes: string[] = [];
  const disk = parts.includes('disk') ? await writeDisk(root, written, causes).catch(textOf) : null;
  const boot = parts.includes('boot') ? await writeBoot(root, written, initrd, causes).catch(textOf) : null;
  return { out: folder, readable: written.group !== null, disk, boot, causes };
}

/** A unit that is started again while it runs is not: a mapping that came meanwhile would be missed. */
async function writeDisk(
  root: string,
  folder: OutFolder,
  causes: string[],
): Promise<Exclude<InspectSummary['disk'], string | null>> {
  for (let look = 1; ; look++) {
    const before = await changesOf(root);
    const file = await inspectDisk(root, new Date());
    const bytes = Buffer.from(JSON.stringify(file));
    if (bytes.length > inspectedDiskBytes) throw new Error(`${inspectedDiskFile} would be too long`);
    // What the agent would refuse must not take the place of what it takes.
    parseInspectedFile(bytes);
    await folder.write(inspectedDiskFile, bytes);
    if (look < looks && (await changesOf(root)) !== before) continue;
    const { headers, unreadable, swaps, residue } = file.inspected;
    causes.push(...unreadable.map(({ device, cause }) => `${device}: ${cause}`));
    if (file.tablesUnread !== null) causes.push(`tables: ${file.tablesUnread}`);
    return {
      headers: headers.length,
      unreadable: unreadable.length,
      tables: Object.keys(file.tables).length,
      swaps: swaps.length,
      residue: residue.length,
    };
  }
}

/** Moves when a mapping comes or goes, and while cryptsetup holds a header. */
async function changesOf(root: string): Promise<string> {
  const times = ['dev/mapper', 'run/cryptsetup'].map((path) =>
    stat(join(root, path), { bigint: true }).then(
      ({ mtimeNs }) => mtimeNs,
      () => null,
    ),
  );
  return (await Promise.all(times)).join(' ');
}

async function writeBoot(
  root: string,
  folder: OutFolder,
  copiesInitrds: boolean,
  causes: string[],
): Promise<Exclude<InspectSummary['boot'], string | null>> {
  await using its = await folder.folder(bootFolder);
  const index = await inspectBoot(root, new Date(), its, copiesInitrds);
  const { files, unread } = index;
  causes.push(...unread);
  // Nothing rests on it: what else was read stands without it.
  await writeInstalled(root, folder, index).catch((error: unknown) =>
    causes.push(`installed: ${textOf(error)}`),
  );
  return {
    files: files.length,
    copies: files.filter(({ copied }) => copied).length,
    initrds: files.filter(({ kind }) => kind === 'initrd').length,
    unread: unread.length,
  };
}

async function writeInstalled(root: string, folder: OutFolder, index: BootIndex): Promise<void> {
  const installed = await inspectInstalled(root, index, await readInstalled(folder));
  await folder.write(installedFile, Buffer.from(JSON.stringify({ at: index.at, installed })));
}

/** One that cannot be read is as none. It lies in /run, which a boot begins without. */
async function readInstalled(folder: OutFolder): Promise<InstalledPart | null> {
  try {
    const bytes = await folder.read(installedFile, limits.parts.installed);
    if (bytes === null) return null;
    const { installed } = parseJson(bytes.toString('utf8'), writtenInstalled, installedFile);
    return parseInstalled(Buffer.from(JSON.stringify(installed)));
  } catch {
    return null;
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
