import { basename } from 'node:path';
import { versionInName } from '../../../policy/boot/kernel-version.ts';
import { maskIdentifiers } from '../../../policy/boot/masked-text.ts';
import { parseCommandLine } from '../../../policy/command-line.ts';
import { authenticodeDigests } from '../../../verify/boot/pe-image.ts';
import { computedBanks, createDigester, digestsOf, readBootFile, readChunks } from '../boot/file.ts';
import type { ReferenceComponent } from '../boot-reference.ts';
import { loadOptions } from './load-options.ts';
import { padding } from './stub-archive.ts';

/** Who starts the kernel: it decides what is measured of kernel, initrd and command line, and where. */
export const starters = ['grub', 'systemd-boot', 'firmware'] as const;
export type Starter = (typeof starters)[number];

/** An image that the firmware starts before the kernel: PCR 4. @throws Rejection, CliError */
export function loaderComponent(path: string): ReferenceComponent {
  const digests = authenticodeDigests(readBootFile(path), computedBanks);
  return { stage: 'loader', pcr: 4, kind: 'code', digests, description: basename(path) };
}

/**
 * A kernel: its image in PCR 4 where the firmware starts or checks it, its file in PCR 9 where GRUB reads it.
 * @throws Rejection, CliError
 */
export function kernelComponents(
  path: string,
  starter: Starter,
  secureBoot: boolean,
): readonly ReferenceComponent[] {
  const bytes = readBootFile(path);
  const image: ReferenceComponent = {
    stage: 'kernel',
    pcr: 4,
    kind: 'code',
    digests: authenticodeDigests(bytes, computedBanks),
    description: starter === 'grub' ? `image in memory, ${bytes.length} bytes` : basename(path),
  };
  if (starter !== 'grub') return [image];
  const description = fileName(path);
  const file: ReferenceComponent = {
    stage: 'kernel',
    pcr: 9,
    kind: 'file',
    digests: digestsOf(bytes),
    description,
  };
  // GRUB has the firmware check what it starts only under Secure Boot, and starts it itself otherwise.
  return secureBoot ? [file, image] : [file];
}

/** With the version that its folder has (`lib/modules/VERSION/vmlinuz`): by it commands that name the file are known. */
function fileName(path: string): string {
  const name = basename(path);
  const version = versionInName(name) === null ? versionInName(path) : null;
  return version === null ? `/${name}` : `/${name}-${version}`;
}

/**
 * Initrds in PCR 9: each file as GRUB reads it, and all as one, as the kernel's EFI stub gets them: GRUB begins each
 * at a multiple of four bytes, systemd-boot does not.
 */
export function initrdComponents(paths: readonly string[], starter: Starter): readonly ReferenceComponent[] {
  const all = createDigester();
  let length = 0;
  const files = paths.map((path): ReferenceComponent => {
    const own = createDigester();
    if (starter === 'grub') {
      all.update(padding(length));
      length += padding(length).length;
    }
    length += readChunks(path, (chunk) => {
      own.update(chunk);
      all.update(chunk);
    });
    return {
      stage: 'initrd',
      pcr: 9,
      kind: 'file',
      digests: own.digests(),
      description: fileName(path),
    };
  });
  const whole: ReferenceComponent = {
    stage: 'initrd',
    pcr: 9,
    kind: 'file',
    digests: all.digests(),
    description: 'Linux initrd',
  };
  return starter === 'grub' && files.length === 1 ? files : [...(starter === 'grub' ? files : []), whole];
}

/**
 * A command line as /proc/cmdline shows it. Loaders write it into the log as text, which is compared by its arguments,
 * in whatever PCR; what the firmware hands over is in the log by its digest alone.
 */
export function commandLineComponent(text: string, starter: Starter): ReferenceComponent {
  const options = loadOptions(text);
  if (starter === 'firmware')
    return {
      stage: 'cmdline',
      pcr: 9,
      kind: 'cmdline',
      digests: digestsOf(options),
      description: 'LOADED_IMAGE::LoadOptions',
    };
  const line = parseCommandLine(text).arguments.join(' ');
  const shown = line.length <= 512 ? line : `${line.slice(0, 511)}…`;
  return {
    stage: 'cmdline',
    kind: 'cmdline',
    digests: digestsOf(options),
    description: shown,
    text: maskIdentifiers(line),
  };
}
