import { arch } from 'node:os';
import { join } from 'node:path';
import type { HostFacts } from '../../attest-server/protocol/facts.ts';
import type { FactsCollector } from './collector.ts';
import { readBounded } from './read-bounded.ts';
import { readSsh } from './ssh.ts';
import { sshDaemons } from './ssh-daemons.ts';
import { readSysctls } from './sysctls.ts';
import { upkeep } from './upkeep.ts';

/**
 * What the machine says of itself and of its kernel; what cannot be told is left out, with its cause where a policy may
 * need it. For one agent: what it remembers of daemons and packages is its own.
 */
export function host(): FactsCollector {
  const findDaemons = sshDaemons();
  const readUpkeep = upkeep();
  return {
    name: 'host',
    part: null,
    // A boot is not proven without it, and small files are late on a machine that is busy.
    within: 2_000,
    async read(sysroot, signal) {
      const unread: Record<string, string> = {};
      const read = async (path: string) =>
        (await readBounded(join(sysroot, path), most, signal))?.toString('utf8') ?? null;
      // Kept from some by the kernel, which is no reason to say nothing of the rest.
      const tryRead = (path: string, fact?: keyof HostFacts) =>
        read(path).catch((error: unknown) => {
          signal.throwIfAborted();
          if (fact !== undefined) unread[fact] = error instanceof Error ? error.message : String(error);
          return null;
        });
      const [version, release, manufacturer, commandLine, kexec, lockdown, stat, uuid, tainted] =
        await Promise.all([
          read('proc/version'),
          read('etc/os-release'),
          read('sys/class/dmi/id/sys_vendor'),
          read('proc/cmdline'),
          tryRead('proc/sys/kernel/kexec_load_disabled'),
          tryRead('sys/kernel/security/lockdown', 'lockdown'),
          tryRead('proc/stat'),
          tryRead('sys/class/dmi/id/product_uuid'),
          tryRead('proc/sys/kernel/tainted', 'tainted'),
        ]);
      const [ssh, sysctls, kept] = await Promise.all([
        readSsh(sysroot, findDaemons, signal),
        readSysctls(sysroot, signal),
        readUpkeep(sysroot, signal),
      ]);
      Object.assign(unread, ssh.unread);
      if (sysctls.unread !== null) unread.sysctls = sysctls.unread;
      const facts: HostFacts = {
        kernel: plain(/^Linux version (\S+)/.exec(version ?? '')?.[1], 128),
        os: plain(/^PRETTY_NAME=(["']?)(.*)\1$/m.exec(release ?? '')?.[2], 128),
        arch: arch(),
        manufacturer: plain(manufacturer, 64),
        commandLine: lineOf(commandLine),
        kexecLoadDisabled: switchOf(kexec),
        lockdown: levelOf(lockdown),
        bootTime: timeOf(stat),
        systemUuid: uuidOf(uuid),
        tainted: maskOf(tainted),
        listening: ssh.listening,
        ssh: ssh.ssh,
        sysctls: Object.keys(sysctls.values).length === 0 ? undefined : sysctls.values,
        ...kept,
        unread: causesOf(unread),
      };
      return facts;
    },
  };
}

/** Of one file. */
const most = 16_384;

function plain(text: string | null | undefined, longest: number): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const printed = text?.replace(/[\x00-\x1f\x7f]+/g, ' ').trim();
  return printed?.slice(0, longest) || undefined;
}

/** As it is: another text would have another digest. */
function lineOf(text: string | null): string | undefined {
  const line = text?.replace(/\n$/, '') ?? '';
  return line !== '' && line.length <= 4096 ? line : undefined;
}

function switchOf(text: string | null): boolean | undefined {
  const digit = text?.trim();
  return digit === '0' || digit === '1' ? digit === '1' : undefined;
}

/** Of all that could be, the one that is in brackets: none [integrity] confidentiality */
function levelOf(text: string | null): HostFacts['lockdown'] {
  const level = /\[(\w+)\]/.exec(text ?? '')?.[1];
  return level === 'none' || level === 'integrity' || level === 'confidentiality' ? level : undefined;
}

function maskOf(text: string | null): number | undefined {
  const digits = text?.trim() ?? '';
  return /^\d{1,15}$/.test(digits) ? Number(digits) : undefined;
}

/** As facts may hold them. */
function causesOf(unread: Readonly<Record<string, string>>): HostFacts['unread'] {
  const causes = Object.entries(unread);
  if (causes.length === 0) return undefined;
  return Object.fromEntries(
    causes.map(([name, cause]) => [name, cause.replace(/[^\x20-\x7e]/g, '?').slice(0, 256)]),
  );
}

function timeOf(stat: string | null): number | undefined {
  const seconds = /^btime (\d{1,10})$/m.exec(stat ?? '')?.[1];
  return seconds === undefined || Number(seconds) > 0xffff_ffff ? undefined : Number(seconds);
}

function uuidOf(text: string | null): string | undefined {
  const uuid = text?.trim().toLowerCase() ?? '';
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) ? uuid : undefined;
}
