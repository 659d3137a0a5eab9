import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PcrBank } from '../../attest-server/wire/messages.ts';
import { type Daemon, startDaemon } from '../../swtpm-fixtures/daemon.ts';
import { launchTpm } from '../../swtpm-fixtures/tpm.ts';
import { type Files, writeDisk } from './guest-image.ts';

const firmware = '/usr/share/OVMF';
/** Of one boot, from power on until its first program asks for work: some 15 s without hardware's help. */
const startMs = 240_000;

/** A virtual machine that is running; it answers over its second serial port. */
export interface Guest extends AsyncDisposable {
  /** A whole TPM command; gives the whole response. */
  command(request: Buffer): Promise<Buffer>;
  readFile(path: string): Promise<Buffer>;
  /** A command of the shell of a node (node-image.ts): what it printed. @throws Error where its status is not 0 */
  shell(command: string): Promise<string>;
  readonly console: Console;
  /** Ends it at once, as a power loss does. */
  cutPower(): Promise<void>;
}

/** The first serial port, where a person sits. */
export interface Console {
  /** Everything that was printed since power on. */
  text(): Promise<string>;
  /** What a person types, with `\n` for the key Enter. */
  type(text: string): void;
}

export interface Hardware {
  /** MiB; default 1024. */
  readonly memory?: number;
  /** Images of disks beside the one it boots from; what is written to them is gone with the boot, unless `isKept`. */
  readonly disks?: readonly string[];
  readonly isKept?: boolean;
  /** A port of the loopback here that the guest reaches as 10.0.2.100:9000; it reaches nothing else. */
  readonly port?: number;
}

/** A virtual machine with a TPM of its own, which stays the same from boot to boot. */
export interface VirtualMachine extends AsyncDisposable {
  /** Boots it from a disk with these files. The firmware's own variables are new each time. */
  boot(files: Files, hardware?: Hardware): Promise<Guest>;
}

/** @param banks of its TPM: firmware and kernel extend each of them */
export async function makeMachine(banks: readonly PcrBank[] = ['sha256']): Promise<VirtualMachine> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-vm-'));
  // Made, and then left to QEMU, which powers it by itself.
  const tpm = await launchTpm({ dir: join(dir, 'tpm'), banks });
  await tpm.kill();
  let boots = 0;
  return {
    boot: async (files, hardware = {}) => {
      boots += 1;
      const own = join(dir, String(boots));
      await writeDisk(`${own}.img`, files);
      return bootGuest(own, tpm.dir, hardware);
    },
    [Symbol.asyncDispose]: async () => {
      await tpm.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Without the processor's help: some KVM, such as PVM in a virtual machine, runs neither this firmware nor Debian's kernel. */
async function bootGuest(
  own: string,
  tpmDir: string,
  { memory = 1024, disks = [], isKept = false, port }: Hardware,
): Promise<Guest> {
  const [control, serial, keyboard] = [`${own}.tpm`, `${own}.serial`, `${own}.keyboard`];
  await copyFile(join(firmware, 'OVMF_VARS_4M.fd'), `${own}.vars`);
  const swtpm = await startDaemon('swtpm', [
    ...['socket', '--tpm2', '--tpmstate', `dir=${tpmDir}`, '--ctrl', `type=unixio,path=${control}`],
  ]);
  const flash = 'if=pflash,format=raw';
  const machine = await startDaemon('qemu-system-x86_64', [
    ...['-accel', 'tcg,thread=multi,tb-size=512', '-M', 'q35', '-cpu', 'Nehalem', '-smp', '2'],
    ...['-m', String(memory)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-monitor', 'none'],
    ...['-drive', `${flash},unit=0,readonly=on,file=${join(firmware, 'OVMF_CODE_4M.fd')}`],
    ...['-drive', `${flash},unit=1,file=${own}.vars`],
    ...['-chardev', `socket,id=tpm,path=${control}`, '-tpmdev', 'emulator,id=tpm0,chardev=tpm'],
    ...['-device', 'tpm-crb,tpmdev=tpm0'],
    ...['-drive', `if=none,id=disk,format=raw,snapshot=on,file=${own}.img`],
    ...['-device', 'virtio-blk-pci,drive=disk,bootindex=1'],
    // Firmware shows a loader the disks alone that it may boot.
    ...disks.flatMap((file, index) => [
      ...['-drive', `if=none,id=disk${index},format=raw,snapshot=${isKept ? 'off' : 'on'},file=${file}`],
      ...['-device', `virtio-blk-pci,drive=disk${index},bootindex=${index + 2}`],
    ]),
    ...(port === undefined ? [] : network(port)),
    ...['-object', 'rng-random,id=random,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=random'],
    ...['-chardev', `socket,id=console,path=${keyboard},server=on,wait=off,logfile=${own}.console`],
    ...['-serial', 'chardev:console', '-serial', `unix:${serial},server=on,wait=off`],
  ]);
  const consoleText = () => readFile(`${own}.console`, 'latin1');
  const end = async () => {
    await machine.kill('SIGKILL');
    await swtpm.kill('SIGKILL');
  };
  const line = await openLine(serial, machine);
  // The firmware writes to each port, too.
  let said = await line?.next(startMs);
  while (said != null && !said.endsWith('ready')) said = await line?.next(startMs);
  if (line === null || said == null) {
    await end();
    throw new Error(`the virtual machine did not start: ${(await consoleText()).slice(-2000)}`);
  }
  const typing = await connected(keyboard);
  // What is printed is in the file.
  typing?.resume().on('error', () => {});
  const ask = async (request: string, within = 30_000) => {
    line.send(request);
    const answer = await line.next(within);
    if (answer === null) throw new Error(`the guest did not answer ${request.slice(0, 40)}`);
    return Buffer.from(answer, 'hex');
  };
  let asked = 0;
  const run = async (command: string) => {
    const number = `${++asked} `;
    line.send(`run ${number}${Buffer.from(command).toString('hex')}`);
    let answer = await line.next(600_000);
    // Other programs of a boot write to the port, too.
    while (answer !== null && !answer.startsWith(number)) answer = await line.next(600_000);
    if (answer === null) throw new Error(`the guest did not answer ${command.slice(0, 40)}`);
    return Buffer.from(answer.slice(number.length), 'hex').toString('utf8');
  };
  return {
    command: (request) => ask(`tpm ${request.toString('hex')}`),
    readFile: (path) => ask(`read ${path}`),
    shell: async (command) => {
      const said = await run(command);
      const [status = ''] = said.split('\n');
      const output = said.slice(status.length + 1);
      if (status !== '0') throw new Error(`${command}: ended with ${status}: ${output.slice(-600)}`);
      return output;
    },
    console: { text: consoleText, type: (text) => typing?.write(text.replaceAll('\n', '\r')) },
    cutPower: async () => {
      typing?.destroy();
      await end();
    },
    [Symbol.asyncDispose]: async () => {
      typing?.destroy();
      line.send('off');
      await Promise.race([machine.ended, sleep(10_000)]);
      await end();
    },
  };
}

function network(port: number): readonly string[] {
  // One process a connection: a plain forward is one connection, made at the start.
  const forward = `guestfwd=tcp:10.0.2.100:9000-cmd:busybox nc 127.0.0.1 ${port}`;
  return ['-netdev', `user,id=net,restrict=on,${forward}`, '-device', 'virtio-net-pci,netdev=net,romfile='];
}

interface Line {
  send(text: string): void;
  /** The next line; null where none came in time, or the machine is gone. */
  next(within: number): Promise<string | null>;
}

async function openLine(path: string, machine: Daemon): Promise<Line | null> {
  let isOver = false;
  machine.ended.then(() => {
    isOver = true;
  });
  let socket: Socket | null = null;
  while (socket === null && !isOver) {
    socket = await connected(path);
    if (socket === null) await sleep(50);
  }
  if (socket === null) return null;
  const lines: string[] = [];
  let wake = () => {};
  let rest = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    const [last = '', ...whole] = (rest + text).split('\n').reverse();
    rest = last;
    lines.push(...whole.reverse().map((line) => line.replace(/\r$/, '')));
    wake();
  });
  machine.ended.then(() => wake());
  const open = socket;
  return {
    send: (text) => open.write(`${text}\n`),
    async next(within) {
      const until = performance.now() + within;
      while (lines.length === 0 && !isOver && performance.now() < until)
        await Promise.race([
          new Promise<void>((resolve) => {
            wake = resolve;
          }),
          // It alone keeps no process alive: the machine answers long before.
          sleep(Math.max(1, until - performance.now()), undefined, { ref: false }),
        ]);
      return lines.shift() ?? null;
    },
  };
}

function connected(path: string): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(null));
  });
}
