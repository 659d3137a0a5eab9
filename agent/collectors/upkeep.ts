import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import { compareKernels, parseKernelRelease } from '../../attest-server/wire/kernel-release.ts';
import { whyHidden } from './host-view.ts';
import { readBounded } from './read-bounded.ts';

/** How well a machine is kept, as far as files say it. No verdict rests on it, so what cannot be determined is left out. */
export type Upkeep = Pick<HostFacts, 'timeSync' | 'rebootRequired' | 'newestKernel' | 'updates' | 'runtimes'>;

/** For one agent: what it remembers of packages is its own. */
export function upkeep(): (sysroot: string, signal?: AbortSignal) => Promise<Upkeep> {
  const runtimes = packagedRuntimes();
  return async (sysroot, signal) => {
    const [timeSync, rebootRequired, newestKernel, updates, packaged] = await Promise.all([
      readTimeSync(sysroot),
      readRebootRequired(sysroot),
      readNewestKernel(sysroot),
      readUpdates(sysroot, signal),
      runtimes(sysroot, signal),
    ]);
    return {
      ...(timeSync !== null && { timeSync }),
      ...(rebootRequired !== null && { rebootRequired }),
      ...(newestKernel !== null && { newestKernel }),
      ...(updates !== null && { updates }),
      ...(packaged !== null && { runtimes: packaged }),
    };
  };
}

const isThere = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** systemd-timesyncd says in a file that the clock is right; chrony and ntpd have none that says it. */
async function readTimeSync(sysroot: string): Promise<Upkeep['timeSync'] | null> {
  const [timesyncd, synchronized, chrony, ntpd] = await Promise.all(
    [
      'run/systemd/timesync',
      'run/systemd/timesync/synchronized',
      'run/chrony/chronyd.pid',
      'run/ntpd.pid',
    ].map((path) => isThere(join(sysroot, path))),
  );
  if (timesyncd) return { by: 'systemd-timesyncd', synchronized: synchronized === true };
  if (chrony) return { by: 'chrony', synchronized: null };
  return ntpd ? { by: 'ntpd', synchronized: null } : null;
}

/** Debian's way; null on a system that has no such file at any time. */
async function readRebootRequired(sysroot: string): Promise<boolean | null> {
  if (await isThere(join(sysroot, 'run/reboot-required'))) return true;
  if (!(await isThere(join(sysroot, 'var/lib/dpkg')))) return null;
  // A pod without /run cannot tell that the file is missing.
  const why = await whyHidden(sysroot, '/run/reboot-required').catch(String);
  return why === null ? false : null;
}

const mostKernels = 1024;

async function readNewestKernel(sysroot: string): Promise<string | null> {
  const names = await readdir(join(sysroot, 'boot')).catch(() => []);
  const releases = names
    .slice(0, mostKernels)
    .flatMap((name) => /^vmlinu[xz]-([\x21-\x7e]{1,128})$/.exec(name)?.[1] ?? [])
    .flatMap((text) => {
      const release = parseKernelRelease(text);
      return release === null ? [] : [{ text, release }];
    });
  const [first] = releases.sort((a, b) => compareKernels(b.release, a.release) || (a.text < b.text ? -1 : 1));
  return first?.text ?? null;
}

/** The updates that Ubuntu's update-notifier saw when it last looked; apt's own lists are too large to be read here. */
async function readUpdates(sysroot: string, signal?: AbortSignal): Promise<Upkeep['updates'] | null> {
  const path = join(sysroot, 'var/lib/update-notifier/updates-available');
  const text = (await readBounded(path, 4096, signal).catch(() => null))?.toString('utf8') ?? '';
  const all = /^(\d{1,6}) (?:updates?|packages?) can be (?:applied|updated)/m.exec(text)?.[1];
  const security =
    /^(\d{1,6}) of these updates (?:is|are) (?:a )?(?:standard )?security updates?/m.exec(text)?.[1] ??
    /^(\d{1,6}) updates? (?:is|are) (?:a )?security updates?/m.exec(text)?.[1];
  return all === undefined
    ? null
    : { all: Number(all), security: security === undefined ? null : Number(security) };
}

const runtimePackages: ReadonlySet<string> = new Set([
  'containerd',
  'containerd.io',
  'cri-o',
  'docker-ce',
  'docker.io',
  'moby-engine',
  'podman',
  'runc',
]);
const mostStatusBytes = 16 * 1024 * 1024;

/** The runtimes in dpkg's status, which is some MB long: it is read again only when it is another file. */
function packagedRuntimes(): (sysroot: string, signal?: AbortSignal) => Promise<Upkeep['runtimes'] | null> {
  let last: { readonly key: string; readonly runtimes: NonNullable<Upkeep['runtimes']> } | null = null;
  return async (sysroot, signal) => {
    const path = join(sysroot, 'var/lib/dpkg/status');
    const found = await stat(path).catch(() => null);
    if (found === null || found.size > mostStatusBytes) return null;
    const key = `${path} ${found.ino} ${found.mtimeMs} ${found.size}`;
    if (last?.key === key) return last.runtimes;
    const runtimes = await readStatus(path, signal).catch(() => {
      signal?.throwIfAborted();
      return null;
    });
    if (runtimes !== null) last = { key, runtimes };
    return runtimes;
  };
}

/** Piece by piece: the agent must not grow by the list of all packages. */
async function readStatus(path: string, signal?: AbortSignal): Promise<NonNullable<Upkeep['runtimes']>> {
  const file = await open(path, 'r');
  try {
    const packages = new StatusReader();
    const chunk = Buffer.alloc(65_536);
    for (let bytes = 0; bytes <= mostStatusBytes; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(chunk, 0, chunk.length);
      if (bytesRead === 0) break;
      bytes += bytesRead;
      packages.add(chunk.toString('latin1', 0, bytesRead));
    }
    return packages.end();
  } finally {
    await file.close();
  }
}

const mostRuntimes = 8;
const longestRest = 65_536;

class StatusReader {
  readonly #found: { name: string; version: string }[] = [];
  #rest = '';
  #name = '';
  #version = '';
  #isInstalled = false;

  add(text: string): void {
    const lines = (this.#rest + text).split('\n');
    // A line without end is of no field that counts.
    this.#rest = (lines.pop() ?? '').slice(0, longestRest);
    for (const line of lines) this.#take(line);
  }

  end(): NonNullable<Upkeep['runtimes']> {
    this.#take(this.#rest);
    this.#take('');
    return this.#found;
  }

  #take(line: string): void {
    if (line.startsWith('Package: ')) this.#name = line.slice(9).trim();
    else if (line.startsWith('Status: ')) this.#isInstalled = line.trimEnd().endsWith(' installed');
    else if (line.startsWith('Version: ')) this.#version = line.slice(9).trim();
    else if (line === '') {
      if (this.#isInstalled && runtimePackages.has(this.#name) && this.#found.length < mostRuntimes)
        this.#found.push({
          name: this.#name,
          version: this.#version.replace(/[^\x21-\x7e]/g, '?').slice(0, 64) || '?',
        });
      this.#name = '';
      this.#version = '';
      this.#isInstalled = false;
    }
  }
}
