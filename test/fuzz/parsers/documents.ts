import { stringify } from 'yaml';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import { parsePins } from '../../../attest-server/formats/pin-file.ts';
import { reference as referenceShape } from '../../../attest-server/formats/reference.ts';
import { versionInName, withoutVersion } from '../../../attest-server/policy/boot/kernel-version.ts';
import { comparedCommands } from '../../../attest-server/policy/boot/loader-commands.ts';
import { maskIdentifiers } from '../../../attest-server/policy/boot/masked-text.ts';
import { maskArgument, maskNames } from '../../../attest-server/policy/boot/named-masks.ts';
import { parseCommandLine } from '../../../attest-server/policy/command-line.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { checkPolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { enrolments } from '../../../attest-server/policy/policy.ts';
import { parseReferenceFile } from '../../../attest-server/policy/reference-file.ts';
import { ConfigError } from '../../../attest-server/settings/config-error.ts';
import { parseConfigFile } from '../../../attest-server/settings/config-file.ts';
import { parseKernelRelease } from '../../../attest-server/wire/kernel-release.ts';
import { parseJson } from '../../../attest-server/wire/parse-json.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { examples, recordings } from '../recordings.ts';
import { isBeyond, isMember, isRejection } from './refusals.ts';

const never = () => false;
const distinct = (all: readonly Buffer[]) => [
  ...new Map(all.map((bytes) => [bytes.toString('latin1'), bytes])).values(),
];

export const policy: FuzzedParser = {
  sources: [
    'contradictions',
    'explain-issue',
    'policy-file',
    'policy-group',
    'policy-schema',
    'policy-warnings',
    'raw-value',
    'yaml-bounds',
  ].map((name) => `attest-server/policy/file/${name}.ts`),
  form: { kind: 'text' },
  most: 32 * 1024,
  seeds: () =>
    distinct([
      ...recordings(
        'attest-server/policy/shipped/*.yaml',
        'swtpm-fixtures/vectors/*/policy.yaml',
        'swtpm-fixtures/conversations/*/policy.yaml',
      ),
      ...['policy', 'disk', 'firewall', 'host'].flatMap((name) => examples(`docs/${name}.md`, 'yaml')),
    ]),
  parse: (bytes) => checkPolicy(bytes.toString('utf8'), 'fuzzed.yaml', enrolments),
  isDeclared: (error) => error instanceof PolicyError,
  isPastHeader: (error) =>
    error instanceof PolicyError && error.faults.some(({ field }) => field !== 'policy'),
};

const referenceSources = [
  'attest-server/formats/reference.ts',
  'attest-server/wire/parse-json.ts',
  'attest-server/wire/shape-fault.ts',
  'attest-server/wire/firewall.ts',
];
const references = () => recordings('swtpm-fixtures/vectors/references/*/*.json');

export const reference: FuzzedParser = {
  sources: referenceSources,
  form: { kind: 'json' },
  most: 96 * 1024,
  seeds: references,
  parse: (bytes) => parseJson(bytes.toString('utf8'), referenceShape, 'reference'),
  isDeclared: isRejection,
  isPastHeader: isMember('reference'),
};

/** A reference as people keep it in Git. */
export const yamlReference: FuzzedParser = {
  sources: referenceSources,
  form: { kind: 'text' },
  // A blank line takes the parser of YAML 3 KiB, which it gives back: more of them would be a finding each time.
  most: 8 * 1024,
  // A few components and events of each: a person writes no more, and YAML takes its time.
  seeds: () =>
    references().map((bytes) => {
      const { components, events, ...rest } = parseJson(bytes.toString('utf8'), referenceShape, 'reference');
      return Buffer.from(
        stringify({ ...rest, components: components.slice(0, 6), events: events.slice(0, 2) }),
      );
    }),
  parse: (bytes) => parseReferenceFile(bytes.toString('utf8'), 'reference.yaml'),
  isDeclared: isRejection,
  isPastHeader: isMember('file'),
};

export const digestList: FuzzedParser = {
  sources: ['attest-server/formats/digest-list.ts', 'attest-server/formats/packed-list.ts'],
  form: { kind: 'little-endian' },
  most: 64 * 1024,
  seeds: () => digestLists(),
  parse: (bytes) => {
    const list = DigestList.fromBytes(bytes);
    const files = [...list.files()];
    for (const { digest, path } of files.slice(0, 64)) {
      const index = list.find(digest);
      if (
        !list.filesOf(index).some((one) => one.path === path) ||
        !list.filesAt(path).some((one) => one.digest.equals(digest))
      )
        throw new Error('a list does not find what it lists');
    }
    if (!DigestList.of(files).toBytes().equals(bytes)) throw new Error('a list is written in two ways');
    return list.size;
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(32),
};

/** Of what the machines of the recordings measured: files of Debian by digests of each length. */
function digestLists(): readonly Buffer[] {
  const names = ['bin/true', 'bin/bash', 'lib/x86_64-linux-gnu/libc.so.6', 'usr/bin/ssh', 'etc/passwd'];
  const files = (lengths: readonly number[], count: number) =>
    Array.from({ length: count }, (_, index) => ({
      digest: Buffer.alloc(lengths[index % lengths.length] ?? 32, index * 7 + 1),
      path: `/usr/${names[index % names.length]}${index < names.length ? '' : index}`,
      package: index % 3 === 0 ? null : `package${index % 5} 1.2-${index % 4}`,
    }));
  return [files([32], 0), files([32], 1), files([20, 32, 48, 64], 24), files([32, 64], 300)].map((list) =>
    DigestList.of(list).toBytes(),
  );
}

export const configFile: FuzzedParser = {
  sources: ['attest-server/settings/config-file.ts'],
  form: { kind: 'text' },
  most: 16 * 1024,
  seeds: () =>
    ['first-node', 'clouds', 'kubernetes', 'gate'].flatMap((name) => examples(`docs/${name}.md`, 'yaml')),
  parse: (bytes) => parseConfigFile(bytes.toString('utf8'), 'config.yaml'),
  isDeclared: (error) => error instanceof ConfigError,
  isPastHeader: never,
};

export const pins: FuzzedParser = {
  sources: ['attest-server/formats/pin-file.ts'],
  form: { kind: 'text' },
  most: 16 * 1024,
  seeds: () => [Buffer.from(`# pins\nnode-1,${'ab'.repeat(32)}\nworker-2.example,${'CD'.repeat(32)}\r\n`)],
  parse: (bytes) => parsePins(bytes.toString('utf8')),
  isDeclared: never,
  isPastHeader: never,
};

/** What the kernel and loaders say in words: command lines and releases. */
export const kernelWords: FuzzedParser = {
  sources: [
    'attest-server/policy/command-line.ts',
    'attest-server/policy/boot/masked-text.ts',
    'attest-server/policy/boot/loader-commands.ts',
    'attest-server/policy/boot/kernel-version.ts',
    'attest-server/policy/boot/named-masks.ts',
    'attest-server/wire/kernel-release.ts',
  ],
  form: { kind: 'text' },
  most: 8 * 1024,
  seeds: () =>
    [
      'BOOT_IMAGE=/boot/vmlinuz-6.12.57+deb13-amd64 root=UUID=0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0 ro quiet console="ttyS0,115200"',
      'initrd=\\debian\\initrd.img root=/dev/vda2 rd.luks.uuid=luks-0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0 ima_policy=tcb -- single',
      'set prefix=(hd0,gpt2)/grub2\nset root=hd1,gpt2\nsearch --no-floppy --fs-uuid --set=root --hint-efi=hd1,gpt2 E94E-DE2D',
      'initrd (hd0,gpt3)/initramfs-6.12.57.img\nset slot=a\nconfigfile (hd0,gpt8)/grub/grub.cfg\nmodule2 (hd0,gpt1)/x hd0',
      '6.12.57+deb13-cloud-amd64',
      '5.14.0-503.el9.x86_64',
    ].map((text) => Buffer.from(text)),
  parse: (bytes) => {
    const text = bytes.toString('utf8');
    const line = parseCommandLine(text);
    const commands = text.split('\n').map((one) => ({ pcr: 8, kind: 'command', text: one }));
    return [
      line,
      line.arguments.map((word) => maskArgument(word, maskNames)),
      maskIdentifiers(text),
      [...comparedCommands(commands, maskNames).values()].map((one) => withoutVersion(one, '6.12.57')),
      versionInName(text),
      parseKernelRelease(text),
    ];
  },
  isDeclared: never,
  isPastHeader: never,
};
