import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import { folder, mode, newc } from '../../swtpm-fixtures/newc.ts';

/** A file of an initrd or of an EFI system partition, by its path there. */
export type Files = Readonly<Record<string, Buffer | string>>;

/**
 * The first program of the guest: it sends commands to its TPM and reads files as its second serial port asks, a line
 * each, and answers in hex. `/extend`, where it is there, is a command that it sends before anything else.
 */
const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t securityfs securityfs /sys/kernel/security
exec 3<>/dev/tpm0
if [ -f /extend ]; then cat /extend >&3; cat <&3 >/dev/null; fi
stty -F /dev/ttyS1 raw -echo
exec 4<>/dev/ttyS1
echo ready >&4
while read -r word rest <&4; do
  case $word in
    tpm) echo $rest | xxd -r -p >/command; cat /command >&3; cat <&3 | xxd -p | tr -d '\\n' >&4; echo >&4;;
    read) xxd -p "$rest" | tr -d '\\n' >&4; echo >&4;;
    off) poweroff -f;;
  esac
done
`;

/**
 * Does what the second serial port says, a line each: a number and a command of the shell in hex, answered by that number, and
 * status and output in hex. `Guest.shell` asks it. Its files are none that the boot clears away.
 */
export const serialShell = `stty -F /dev/ttyS1 raw -echo
exec 4<>/dev/ttyS1
echo ready >&4
while read -r word rest <&4; do
  case $word in
    run) echo \${rest#* } | xxd -r -p >/run/command; sh /run/command >/run/output 2>&1 </dev/null 4>&-; echo $? >/run/status
      echo "\${rest%% *} $(cat /run/status /run/output | xxd -p | tr -d '\\n')" >&4;;
    off) sync; poweroff -f;;
  esac
done
`;

/** An initrd that serves its second serial port. @param extend a TPM command that it sends first */
export async function guestInitrd(extend: Buffer | null): Promise<Buffer> {
  return guestArchive({
    init,
    'bin/busybox': await readFile('/usr/bin/busybox'),
    ...(extend !== null && { extend }),
  });
}

/** What Linux unpacks at its start: folders first, then files that may be run. */
export function guestArchive(files: Files, more: readonly string[] = []): Buffer {
  const folders = new Set(['bin', 'dev', 'proc', 'sys', ...more, ...Object.keys(files).flatMap(foldersOf)]);
  return newc([
    ...[...folders].map(folder),
    ...Object.entries(files).map(([name, content]) => ({ name, content, mode: mode.program })),
  ]);
}

/** Each comes before what is in it. */
function foldersOf(path: string): readonly string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** Writes a disk that is one FAT file system with these files, as firmware boots it. */
export async function writeDisk(path: string, files: Files): Promise<void> {
  const bounds = { timeoutMs: 60_000, maxOutputBytes: 65_536 };
  await run('mkfs.vfat', ['-F', '32', '-C', path, '65536'], bounds);
  const made = new Set<string>();
  for (const [name, content] of Object.entries(files)) {
    const parts = dirname(name)
      .split('/')
      .filter((part) => part !== '.');
    for (const [index] of parts.entries()) {
      const folder = parts.slice(0, index + 1).join('/');
      if (made.has(folder)) continue;
      made.add(folder);
      await run('mmd', ['-i', path, `::/${folder}`], bounds);
    }
    const source = join(`${path}.files`, name);
    await mkdir(dirname(source), { recursive: true });
    await writeFile(source, content);
    await run('mcopy', ['-i', path, source, `::/${name}`], bounds);
  }
}
