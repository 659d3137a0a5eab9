import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianKernel } from './debian-kernel.ts';
import { type Guest, makeMachine } from './guest.ts';
import { nodeInitrd, writeNodeImage } from './node-image.ts';

/**
 * Boots a node whose kernel measures programs and critical data, does with disks what the device mapper measures, and
 * writes down the list in both forms with a quote of each bank after it.
 */
const fixture = join(import.meta.dirname, '../../swtpm-fixtures/recorded/quote-vm-critical-data');
const list = '/sys/kernel/security/ima/';
const nonce = 'a55a'.repeat(10);

const format = (device: string, ...options: readonly string[]) =>
  `cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 ${options.join(' ')} ${device} /tmp/key`;

/** Each line is one thing that the device mapper measures, or what it needs. */
const steps: readonly string[] = [
  'printf key >/tmp/key',
  format('/dev/vdc'),
  'cryptsetup open --key-file /tmp/key /dev/vdc docker && mkfs.ext4 -q /dev/mapper/docker && mount /dev/mapper/docker /var/lib/docker',
  // Below a logical volume, and renamed while it is open.
  'pvcreate -q /dev/vdd && vgcreate -q vg /dev/vdd && lvcreate -q -y -Wn -Zn -n data -L 32M vg && dmsetup mknodes',
  format('/dev/mapper/vg-data'),
  'cryptsetup open --key-file /tmp/key /dev/mapper/vg-data first && dmsetup rename first second && dmsetup mknodes',
  // A mapping that encrypts nothing, with blanks and marks in its name.
  "dmsetup create 'no,thing=1;2 x' --table '0 65536 crypt cipher_null-ecb - 0 /dev/vde 0'",
  // A table that is loaded, and cleared before it is active; one that takes another's place.
  "dmsetup create other --table '0 2048 linear /dev/vde 65536'",
  "dmsetup load other --table '0 2048 error' && dmsetup clear other",
  "dmsetup suspend other && dmsetup load other --table '0 1024 linear /dev/vde 65536' && printf '0 1024 linear /dev/vde 65536\\n1024 1024 zero\\n' | dmsetup load other && dmsetup resume other",
  "dmsetup create gone --table '0 2048 linear /dev/vde 70000' && dmsetup remove gone",
  'printf "#!/bin/sh\\necho unknown\\n" >/usr/bin/unknown && chmod 755 /usr/bin/unknown && /usr/bin/unknown',
];

async function recorded(guest: Guest): Promise<void> {
  for (const step of steps) await guest.shell(step);
  const read = async (path: string) =>
    Buffer.from((await guest.shell(`xxd -p ${path} | tr -d '\\n'`)).trim(), 'hex');
  for (const command of [
    'tpm2_createprimary -Q -C e -G ecc -c p.ctx',
    "tpm2_create -Q -C p.ctx -G ecc256:ecdsa-sha256:null -u ak.pub -r ak.priv -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign'",
    'tpm2_load -Q -C p.ctx -u ak.pub -r ak.priv -c ak.ctx',
    `tpm2_quote -Q -c ak.ctx -l sha1:all+sha256:all+sha384:all+sha512:all -q ${nonce} -m quote.attest -s quote.sig`,
    'tpm2_pcrread >pcrs.yaml',
  ])
    await guest.shell(`cd /tmp && TPM2TOOLS_TCTI=device:/dev/tpmrm0 ${command}`);
  const files = {
    binary_runtime_measurements: `${list}binary_runtime_measurements`,
    binary_runtime_measurements_sha256: `${list}binary_runtime_measurements_sha256`,
    ascii_runtime_measurements: `${list}ascii_runtime_measurements`,
    'ak.pub': '/tmp/ak.pub',
    'quote.attest': '/tmp/quote.attest',
    'quote.sig': '/tmp/quote.sig',
  };
  await mkdir(fixture, { recursive: true });
  for (const [name, path] of Object.entries(files)) await writeFile(join(fixture, name), await read(path));
  const pcrs = pcrsIn(await guest.shell('cat /tmp/pcrs.yaml'));
  const expected = { nonce, quotes: ['quote'], pcrs, result: 'proven' };
  await writeFile(join(fixture, 'expected.json'), `${JSON.stringify(expected, null, 1)}\n`);
}

/** What tpm2_pcrread prints: a line for each bank, and below it one for each PCR. */
function pcrsIn(text: string): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const banks: Record<string, Record<string, string>> = {};
  let bank: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const name = /^\s*(sha\d+):$/.exec(line)?.[1];
    if (name !== undefined) bank = banks[name] = {};
    const [, pcr, value] = /^\s*(\d+)\s*: 0x([0-9A-F]+)$/.exec(line) ?? [];
    if (pcr !== undefined && value !== undefined) bank[pcr] = value.toLowerCase();
  }
  return banks;
}

const dir = await mkdtemp(join(tmpdir(), 'assay-record-ima-'));
try {
  await using kernel = await debianKernel();
  const image = await writeNodeImage(join(dir, 'root'), kernel, {});
  const disks = ['c', 'd', 'e'].map((name) => join(dir, name));
  for (const disk of disks) {
    await writeFile(disk, '');
    await truncate(disk, 64 * 1024 * 1024);
  }
  await using machine = await makeMachine(['sha1', 'sha256', 'sha384', 'sha512']);
  await using guest = await machine.boot(
    {
      'EFI/BOOT/BOOTX64.EFI': kernel.loader,
      'loader/loader.conf': 'timeout 0\n',
      'loader/entries/linux.conf':
        'title Linux\nlinux /vmlinuz\ninitrd /initrd.img\noptions console=ttyS0 no_timer_check panic=-1 ima_policy=tcb|critical_data\n',
      vmlinuz: kernel.image,
      'initrd.img': await nodeInitrd(kernel),
    },
    { memory: 2048, disks: [image, ...disks] },
  );
  await recorded(guest);
} finally {
  await rm(dir, { recursive: true, force: true });
}
