import { arch } from 'node:os';
import { join } from 'node:path';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import type { FactsCollector } from './collector.ts';
import { readBounded } from './read-bounded.ts';

/** Facts on the machine and its kernel; what cannot be determined is left out. */
export const host: FactsCollector = {
  name: 'host',
  part: null,
  // A boot is not proven without it, and small files are late on a machine that is busy.
  within: 2_000,
  async read(sysroot, signal) {
    const read = async (path: string) =>
      (await readBounded(join(sysroot, path), most, signal))?.toString('utf8') ?? null;
    // Kept from some by the kernel, which is no reason to say nothing of the rest.
    const tryRead = (path: string) => read(path).catch(() => null);
    const [version, release, manufacturer, commandLine, kexec, lockdown, stat, uuid] = await Promise.all([
      read('proc/version'),
      read('etc/os-release'),
      read('sys/class/dmi/id/sys_vendor'),
      read('proc/cmdline'),
      tryRead('proc/sys/kernel/kexec_load_disabled'),
      tryRead('sys/kernel/security/lockdown'),
      tryRead('proc/stat'),
      tryRead('sys/class/dmi/id/product_uuid'),
    ]);
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
    };
    return facts;
  },
};

/** The most bytes of one file. */
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

/** The level in brackets among all that could be: none [integrity] confidentiality */
function levelOf(text: string | null): HostFacts['lockdown'] {
  const level = /\[(\w+)\]/.exec(text ?? '')?.[1];
  return level === 'none' || level === 'integrity' || level === 'confidentiality' ? level : undefined;
}

function timeOf(stat: string | null): number | undefined {
  const seconds = /^btime (\d{1,10})$/m.exec(stat ?? '')?.[1];
  return seconds === undefined || Number(seconds) > 0xffff_ffff ? undefined : Number(seconds);
}

function uuidOf(text: string | null): string | undefined {
  const uuid = text?.trim().toLowerCase() ?? '';
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) ? uuid : undefined;
}
