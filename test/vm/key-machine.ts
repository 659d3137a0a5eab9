import { copyFile, cp, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { type DebianMachine, debianMachine } from './debian-machine.ts';
import { type Guest, makeMachine } from './guest.ts';

/** A Debian system with the units of disk keys, whose disks keep what is written. Only `booted` is one of now. */
export interface KeyMachine extends AsyncDisposable {
  readonly guest: Guest;
  /** Ends the boot that there is, and starts another. @param options more words of the kernel's command line */
  reboot(options?: string): Promise<void>;
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

/** The partition that is to be the volume, by its name. */
export const volumeDevice = '/dev/disk/by-partlabel/docker';
export const keySocket = '/run/cryptsetup-keys.d/docker.key';

const bounds = { timeoutMs: 120_000, maxOutputBytes: 65_536 };
const packages = [
  ...['systemd-cryptsetup', 'cryptsetup-bin', 'dmsetup', 'e2fsprogs', 'fdisk', 'tpm2-tools'],
  ...['libatomic1', 'libstdc++6'],
];

/** As docs/disk-keys.md has it, with a runtime that only says what it finds, and a blank partition. */
const install = `set -e
mount -o ro /dev/vdd /mnt
cp -r /mnt/node /mnt/programs /usr/local/lib
chmod -R go+rX /usr/local/lib/programs
printf '#!/bin/sh\\nexec /usr/local/lib/node /usr/local/lib/programs/%s "$@"\\n' "$1" >/usr/local/bin/assay-agent
chmod 755 /usr/local/bin/assay-agent
cd /mnt/host
install -D -m 0644 assay.sysusers.conf /etc/sysusers.d/assay.conf && systemd-sysusers
install -m 0644 assay-unlock@.service assay-unlock@.socket assay-cap.service assay-volume@.service /etc/systemd/system/
for service in docker containerd kubelet; do
  install -D -m 0644 assay-cap.require.conf /etc/systemd/system/$service.service.d/assay-cap.conf
done
install -D -m 0644 assay-cap.volumes.conf /etc/systemd/system/systemd-cryptsetup@.service.d/assay-cap.conf
cat >/etc/systemd/system/docker.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'echo "keys: $(ls -A /run/cryptsetup-keys.d)"'
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable assay-unlock@docker.socket assay-volume@docker assay-cap docker
mkdir /etc/assay
printf 'label: gpt\\ntype=linux, name=docker\\n' | sfdisk -q /dev/vdc
udevadm settle
`;

/**
 * @param programs folder that the guest has
 * @param agent the program in it that is assay-agent there
 * @param port of the loopback here, for the guest 10.0.2.100:9000
 */
export async function keyMachine(programs: string, agent: string, port?: number): Promise<KeyMachine> {
  const resources = new AsyncDisposableStack();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-keys-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const debian = await debianMachine('keys', packages);
    const disks = await makeDisks(dir, debian.disk, programs);
    const machine = resources.use(await makeMachine());
    const hardware = { memory: 2048, disks, isKept: true, ...(port !== undefined && { port }) };
    const boot = (options: string) => machine.boot(filesWith(debian, options), hardware);
    let guest = await boot('');
    resources.defer(() => guest[Symbol.asyncDispose]());
    await guest.shell(`set -- ${agent}\n${install}`);
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

function filesWith({ files }: DebianMachine, options: string): DebianMachine['files'] {
  const name = 'loader/entries/linux.conf';
  return { ...files, [name]: String(files[name]).replace(/^options .*$/m, `$&${options}`) };
}

/** The root file system, a blank disk, and one with what is installed. */
async function makeDisks(dir: string, root: string, programs: string): Promise<readonly string[]> {
  const [own, blank, content] = [join(dir, 'root'), join(dir, 'blank'), join(dir, 'content')];
  await run('cp', ['--sparse=always', root, own], bounds);
  await writeFile(blank, '');
  await truncate(blank, 256 * 1024 * 1024);
  const folder = join(dir, 'files');
  await mkdir(folder);
  await cp(join(import.meta.dirname, '../../manifests/host'), join(folder, 'host'), { recursive: true });
  await cp(programs, join(folder, 'programs'), { recursive: true });
  await copyFile(process.execPath, join(folder, 'node'));
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', folder, content, '400M'], bounds);
  return [own, blank, content];
}
