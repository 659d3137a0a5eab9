import { hash } from 'node:crypto';
import type { Bundle } from '../../attest-server/formats/bundle.ts';
import { qualifyingData } from '../../attest-server/wire/binding.ts';
import { debianKernel } from './debian-kernel.ts';
import { type Guest, makeMachine } from './guest.ts';
import { type Files, guestInitrd } from './guest-image.ts';
import { createKey, extendCommand, quote, readPcrs } from './tpm-commands.ts';

/** What one machine showed of three boots. */
export interface Boots {
  /** The boot that somebody vouches for: `initrd` is a line of its entry. */
  readonly honest: Bundle;
  /** Another initrd, named in the options alone, extended what the good one is, and the good boot's log is shown. */
  readonly attacked: Bundle;
  /** The same boot, its own log beside its PCRs before the initrd extended anything. */
  readonly unmasked: Bundle;
}

/** Rules of the group that the machine is in. */
export const bootedBy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["worker-*"]
    require: [boot]
    boot:
      references: [good]
`;

export const kernelWords = 'console=ttyS0 no_timer_check panic=-1';
/** systemd-boot puts `initrd=` before the options where the entry has a line for it, so that both lines are the same. */
const entries = {
  honest: `title Linux\nlinux /vmlinuz\ninitrd /initrd.img\noptions ${kernelWords}\n`,
  attacked: `title Linux\nlinux /vmlinuz\noptions initrd=\\initrd.img ${kernelWords}\n`,
};

/** Boots the machine three times: half a minute each. */
export async function bootAll(): Promise<Boots> {
  await using programs = await debianKernel();
  const { loader, image: kernel } = programs;
  const disk = (entry: string, initrd: Buffer): Files => ({
    'EFI/BOOT/BOOTX64.EFI': loader,
    'loader/loader.conf': 'timeout 0\n',
    'loader/entries/linux.conf': entry,
    vmlinuz: kernel,
    'initrd.img': initrd,
  });
  await using machine = await makeMachine();
  const good = await guestInitrd(null);
  const honest = await shown(machine.boot(disk(entries.honest, good)), null);
  const extended = extendCommand(9, hash('sha256', good, 'hex'));
  const evil = await guestInitrd(extended);
  const attacked = await shown(machine.boot(disk(entries.attacked, evil)), honest.log);
  const unmasked = await shown(machine.boot(disk(entries.attacked, good)), null);
  return { honest: honest.bundle, attacked: attacked.bundle, unmasked: unmasked.bundle };
}

/** What a machine shows of the boot that runs. @param log that is shown in place of its own; null: its own */
export async function shown(
  booting: Promise<Guest>,
  log: Buffer | null,
): Promise<{ readonly bundle: Bundle; readonly log: Buffer }> {
  await using guest = await booting;
  const own = await guest.readFile('/sys/kernel/security/tpm0/binary_bios_measurements');
  const ima = await guest.readFile('/sys/kernel/security/ima/binary_runtime_measurements');
  const bootId = (await guest.readFile('/proc/sys/kernel/random/boot_id')).toString('latin1').trim();
  const boot = log ?? own;
  const facts = JSON.stringify({
    purpose: 'attest',
    node: 'worker-1',
    bootId,
    helloDigest: hash('sha256', 'hello', 'hex'),
  });
  const bound = {
    nonce: Buffer.alloc(32, 0x5a),
    channel: Buffer.alloc(32, 0xc4),
    facts: hash('sha256', facts, 'buffer'),
    bootLog: hash('sha256', boot, 'buffer'),
    keyRequest: Buffer.alloc(0),
  };
  const key = await createKey(guest);
  const { attest, signature } = await quote(guest, key, Buffer.from(qualifyingData(bound), 'hex'));
  const pcrs = await readPcrs(guest);
  return {
    log: own,
    bundle: {
      version: 2,
      attestationKey: key.publicArea.toString('base64'),
      binding: {
        nonce: bound.nonce.toString('hex'),
        channel: bound.channel.toString('hex'),
        facts: bound.facts.toString('hex'),
        bootLog: bound.bootLog.toString('hex'),
        keyRequest: '',
      },
      quotes: [
        {
          attest: attest.toString('base64'),
          signature: signature.toString('base64'),
          pcrs: { sha256: Object.fromEntries(pcrs.map((value, pcr) => [pcr, value.toString('hex')])) },
        },
      ],
      facts,
      parts: { boot: part(boot), ima: part(ima) },
    },
  };
}

function part(bytes: Buffer) {
  return { digest: hash('sha256', bytes, 'hex'), bytes: bytes.toString('base64') };
}
