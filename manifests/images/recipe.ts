/**
 * The container images: `recipe` says what each holds, `build` makes them of packages of Debian
 * (`debian-packages`) and npm (`node-program`, `programs`), and `sbom` describes them. See `docs/images.md`.
 */

import { agentFlags } from '../../swtpm-fixtures/set-up/agent-flags.ts';

/** What one image holds. The Containerfile of that name says how it is started. */
export interface Recipe {
  readonly name: 'agent' | 'server' | 'tpm-trial';
  readonly debian: readonly DebianFiles[];
  /** Executable files on PATH: the compiled file that each starts, and flags of its Node. Without any there is no Node. */
  readonly commands: Readonly<Record<string, Command>>;
  /** Folders of the compiled programs that are taken whole; of others, the files that these import. */
  readonly rooms: readonly string[];
  /** Made empty, where programs look for a volume, a socket or the host. */
  readonly folders: Readonly<Record<string, number>>;
  /** User and group of the Containerfile, by the names that they have in the image. */
  readonly user: { readonly name: string; readonly id: number };
  /** Of all files, uncompressed. */
  readonly maxBytes: number;
}

export interface DebianFiles {
  readonly package: string;
  /** As the package has them, without a leading slash; `*` is any part of a name. LIB is the folder of libraries. */
  readonly files: readonly string[];
  readonly why: string;
}

interface Command {
  readonly start: string;
  readonly flags: readonly string[];
}

/** The stable release of Debian that all images are made of; its number stands in their os-release. */
export const debianRelease = 'trixie';

export const architectures = {
  amd64: { node: 'x64', lib: 'x86_64-linux-gnu', machine: 'Advanced Micro Devices X86-64' },
  arm64: { node: 'arm64', lib: 'aarch64-linux-gnu', machine: 'AArch64' },
} as const;
export type Architecture = keyof typeof architectures;

/** Libraries that a file needs are found by themselves. */
const common: readonly DebianFiles[] = [
  {
    package: 'base-files',
    files: ['usr/lib/os-release', 'etc/debian_version', 'usr/share/common-licenses/*'],
    why: 'which Debian this is, for scanners; licences that copyright files name',
  },
  {
    package: 'libc6',
    files: ['usr/lib/LIB/libc.so.6', 'usr/lib*/**/ld-linux-*'],
    why: 'starts each program',
  },
];

/** Agent and server are Node.js, and take a lock. */
const ofNode: readonly DebianFiles[] = [
  ...common,
  {
    package: 'libstdc++6',
    files: ['usr/lib/LIB/libstdc++.so.6'],
    why: 'Node.js is written in C++',
  },
  { package: 'libatomic1', files: ['usr/lib/LIB/libatomic.so.1'], why: 'Node.js needs it' },
  {
    package: 'coreutils',
    files: ['usr/bin/env'],
    why: 'gives Node its flags in the first line of a program: no shell is needed',
  },
  {
    package: 'util-linux',
    files: ['usr/bin/flock'],
    why: 'one program at a time, on a TPM and on a state folder',
  },
];

/** The verbs of tpm2-tools that node-tpm2 calls; each is a link to the one program. */
const tpmTools = [
  ...[
    'activatecredential',
    'createek',
    'createprimary',
    'evictcontrol',
    'flushcontext',
    'getcap',
    'getrandom',
    'import',
    'load',
  ],
  ...['nvread', 'pcrextend', 'pcrread', 'policycountertimer', 'policyor', 'policypcr', 'policysecret'],
  ...['quote', 'readpublic', 'startauthsession', 'unseal'],
];

const agent: Recipe = {
  name: 'agent',
  debian: [
    ...ofNode,
    {
      package: 'tpm2-tools',
      files: ['usr/bin/tpm2', ...tpmTools.map((verb) => `usr/bin/tpm2_${verb}`)],
      why: 'speaks with the TPM',
    },
    {
      package: 'libtss2-tcti-device0t64',
      files: ['usr/lib/LIB/libtss2-tcti-device.so.0*'],
      why: 'the way to /dev/tpmrm0',
    },
    {
      package: 'libtss2-tcti-swtpm0t64',
      files: ['usr/lib/LIB/libtss2-tcti-swtpm.so.0*'],
      why: 'the way to a software TPM, for a cluster in which Assay is tried',
    },
    {
      package: 'util-linux',
      files: ['usr/bin/setpriv'],
      why: 'ends the monitor of the firewall with netfilter',
    },
    { package: 'nftables', files: ['usr/sbin/nft'], why: 'reads the rules of nf_tables' },
    {
      package: 'iptables',
      files: [
        ...['usr/sbin/xtables-nft-multi', 'usr/sbin/xtables-legacy-multi', 'usr/lib/LIB/xtables/*.so'],
        ...['usr/sbin/iptables-nft', 'usr/sbin/ip6tables-nft'],
        ...['usr/sbin/iptables-nft-save', 'usr/sbin/ip6tables-nft-save'],
        ...['usr/sbin/iptables-legacy-save', 'usr/sbin/ip6tables-legacy-save'],
      ],
      why: 'reads the rules of iptables, of both kinds',
    },
    {
      package: 'netbase',
      files: ['etc/protocols', 'etc/services'],
      why: 'names of protocols in what nft and iptables print, as on a host',
    },
  ],
  commands: { 'assay-agent': { start: 'assay-agent.js', flags: agentFlags } },
  rooms: ['agent'],
  folders: {
    'etc/assay': 0o755,
    host: 0o755,
    'run/assay': 0o755,
    tmp: 0o1777,
    'var/lib/assay-agent': 0o755,
  },
  user: { name: 'assay-agent', id: 65532 },
  maxBytes: 175_000_000,
};

const server: Recipe = {
  name: 'server',
  debian: [
    ...ofNode,
    {
      package: 'openssl',
      files: ['usr/bin/openssl', 'etc/ssl/openssl.cnf', 'usr/lib/ssl/openssl.cnf'],
      why: 'makes the certificates of the server’s authority',
    },
  ],
  commands: {
    'assay-server': { start: 'assay-server.js', flags: ['--disable-sigusr1'] },
    assay: { start: 'assay.js', flags: [] },
    'assay-cloud-aws': { start: 'assay-cloud-aws.js', flags: [] },
    'assay-cloud-gce': { start: 'assay-cloud-gce.js', flags: [] },
  },
  rooms: ['attest-server', 'manifests/cloud'],
  folders: { 'etc/assay': 0o755, tmp: 0o1777, 'var/lib/assay': 0o755 },
  user: { name: 'assay', id: 65532 },
  maxBytes: 165_000_000,
};

/** A TPM for machines that have none. It proves nothing, so no image that is in earnest holds it. */
const tpmTrial: Recipe = {
  name: 'tpm-trial',
  debian: [
    ...common,
    { package: 'swtpm', files: ['usr/bin/swtpm'], why: 'the software TPM itself' },
    {
      package: 'swtpm-libs',
      files: ['usr/lib/LIB/swtpm/libswtpm_libtpms.so.0'],
      why: 'what it is made of, where it alone looks',
    },
    { package: 'swtpm-tools', files: ['usr/bin/swtpm_ioctl'], why: 'asks whether it is there' },
  ],
  commands: {},
  rooms: [],
  folders: { 'run/assay-tpm': 0o755, 'var/lib/assay-tpm': 0o755 },
  user: { name: 'assay-tpm', id: 65532 },
  maxBytes: 15_000_000,
};

export const recipes = { agent, server, 'tpm-trial': tpmTrial } as const;
