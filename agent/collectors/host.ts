import { arch } from 'node:os';
import { join } from 'node:path';
import type { HostFacts } from '../../attest-server/protocol/facts.ts';
import { readLockdown } from './lockdown.ts';
import { readBounded } from './read-bounded.ts';

const most = 16_384;

/** The kernel's name for this boot. @throws Error where there is none */
export async function readBootId(sysroot: string): Promise<string> {
  const id = (await readText(sysroot, 'proc/sys/kernel/random/boot_id'))?.trim() ?? '';
  if (/^[0-9a-f-]{36}$/.test(id)) return id;
  throw new Error(`${join(sysroot, 'proc/sys/kernel/random/boot_id')} holds no boot id`);
}

/** What the machine says of itself; what cannot be told is left out. */
export async function readHostFacts(sysroot: string): Promise<HostFacts> {
  const [system, manufacturer, commandLine, lockdown, uuid] = await Promise.all([
    sysroot === '/' ? readRunningSystem() : readSystemFiles(sysroot),
    readText(sysroot, 'sys/class/dmi/id/sys_vendor'),
    readText(sysroot, 'proc/cmdline'),
    readLockdown(sysroot),
    // For root only; elsewhere nobody is kept from answering without it.
    readText(sysroot, 'sys/class/dmi/id/product_uuid').catch(() => null),
  ]);
  const systemUuid = uuid?.trim().toLowerCase() ?? '';
  return {
    ...named('kernel', system.kernel, 128),
    ...named('os', system.os, 128),
    ...named('arch', system.arch, 32),
    ...named('manufacturer', manufacturer, 64),
    ...lineOf(commandLine),
    ...lockdown,
    ...(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(systemUuid) && { systemUuid }),
  };
}

interface System {
  readonly kernel: string | undefined;
  readonly os: string | undefined;
  readonly arch: string | undefined;
}

async function readRunningSystem(): Promise<System> {
  const { osInfo } = await import('systeminformation');
  const { kernel, distro, release, codename, arch: machine } = await osInfo();
  return { kernel, os: `${distro} ${release}${codename ? ` (${codename})` : ''}`, arch: machine };
}

async function readSystemFiles(sysroot: string): Promise<System> {
  const [version, release] = await Promise.all([
    readText(sysroot, 'proc/version'),
    readText(sysroot, 'etc/os-release'),
  ]);
  return {
    kernel: /^Linux version (\S+)/.exec(version ?? '')?.[1],
    os: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release ?? '')?.[1],
    arch: arch(),
  };
}

/** As it is: another text would have another digest. */
function lineOf(text: string | null): Pick<HostFacts, 'commandLine'> {
  const commandLine = text?.replace(/\n$/, '') ?? '';
  return commandLine !== '' && commandLine.length <= longestLine ? { commandLine } : {};
}

const longestLine = 4096;

function named<K extends keyof HostFacts>(key: K, text: string | null | undefined, longest: number) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const plain = text?.replace(/[\x00-\x1f\x7f]+/g, ' ').trim();
  return plain ? { [key]: plain.slice(0, longest) } : {};
}

async function readText(sysroot: string, path: string): Promise<string | null> {
  return (await readBounded(join(sysroot, path), most))?.toString('utf8') ?? null;
}
