import { hash } from 'node:crypto';
import { dayOf } from '../../agent/inspect/inspected-file.ts';
import { ownedForMs } from '../../agent/netfilter/rule-reader.ts';
import type { Reference } from '../../attest-server/formats/reference.ts';
import { firewall } from '../../attest-server/policy/firewall/firewall.ts';
import { strictPolicy } from '../../attest-server/policy/shipped/built-in.ts';
import type { DiskPart } from '../../attest-server/wire/disk.ts';
import type { HostFacts } from '../../attest-server/wire/facts.ts';
import type { FirewallPart } from '../../attest-server/wire/firewall.ts';
import { sysctlNames } from '../../attest-server/wire/sysctls.ts';
import { inspectedOf, recordedPart, seenOtherwise } from '../attest-server/policy/disk/made-disk.ts';
import { provenWith, recordedNode } from '../attest-server/policy/firewall/made-firewall.ts';
import { firewallPartOfFolder } from '../recorded/firewall-folder.ts';

/** What collectors give of a node under `strict` at a moment, in milliseconds since the epoch. */
type StrictParts = (at: number) => { readonly disk: Buffer; readonly firewall: Buffer };

interface StrictNodes {
  /** @param bans addresses that fail2ban keeps out at a time: one more each minute, and the first one no longer */
  node(name: string, bans?: number): StrictParts;
  readonly host: HostFacts;
  /** Of the rules that all of them have. */
  readonly reference: Reference;
}

const inspectedEach = 3_600_000;

/** On which nothing changes but what passes by: `inspect` looks again, and services of kube-proxy come and go. */
export async function strictNodes(): Promise<StrictNodes> {
  const recorded = await recordedPart('01-luks2');
  const rules = await firewallPartOfFolder(recordedNode('fw-01-worker-iptables-nft'));
  return {
    node(name, bans = 0) {
      const own = ownVolume(recorded, name);
      return (at) => ({
        disk: bytes(seenOtherwise(own, { at: dayOf(new Date(at - (at % inspectedEach)).toISOString()) })),
        firewall: bytes(withBans(withOwned(rules, name, at), bans, at)),
      });
    },
    host: host(),
    reference: captured(rules),
  };
}

const bytes = (part: DiskPart | FirewallPart) => Buffer.from(JSON.stringify(part));

/** The same volume on two nodes would be a copy. */
function ownVolume(part: DiskPart, name: string): DiskPart {
  const [header] = inspectedOf(part).headers;
  if (header === undefined) throw new Error('the recorded machine has no header');
  const digest = hash('sha256', name);
  const uuid = digest.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
  const text = JSON.stringify(part)
    .replaceAll(header.uuid, uuid)
    .replaceAll(header.uuid.replaceAll('-', ''), uuid.replaceAll('-', ''));
  const renamed: DiskPart = JSON.parse(text);
  const key = hash('sha256', digest, 'base64');
  return seenOtherwise(renamed, {
    headers: inspectedOf(renamed).headers.map((its) => ({
      ...its,
      digest: hash('sha256', uuid),
      metadata: its.metadata?.replace(/"digest":"[^"]+"/, `"digest":"${key}"`) ?? null,
    })),
  });
}

const chains = ['KUBE-SVC-*', 'KUBE-SEP-*', 'KUBE-EXT-*', 'KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-FORWARD'];

/** They are as old as the reader keeps what it said of them. */
function withOwned(rules: FirewallPart, name: string, at: number): FirewallPart {
  const told = Math.floor(at / ownedForMs);
  return {
    ...rules,
    owned: chains.map((chain, index) => ({
      from: 'iptables',
      family: 'ip',
      table: index < 5 ? 'nat' : 'filter',
      chain,
      owner: 'kube-proxy',
      rules: 100 + (told % 7),
      digest: hash('sha256', `${name} ${chain} ${told}`),
    })),
  };
}

/** As fail2ban writes them into `filter`, the table that iptables-save prints last. */
function withBans(rules: FirewallPart, bans: number, at: number): FirewallPart {
  if (bans === 0) return rules;
  const { ip } = rules.iptables;
  if (ip === null || !ip.includes('*filter\n')) throw new Error('the recorded worker has no table filter');
  const first = Math.floor(at / 60_000);
  const banned = Array.from(
    { length: bans },
    (_, i) =>
      `-A f2b-sshd -s 192.0.${((first + i) >> 8) & 255}.${(first + i) & 255}/32 -j REJECT --reject-with icmp-port-unreachable\n`,
  ).reverse();
  const chain = `-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\n${banned.join('')}-A f2b-sshd -j RETURN\n`;
  return {
    ...rules,
    // Agents leave out of nft's what iptables shows as a whole.
    nft: rules.nft?.filter((member) => !('rule' in member)) ?? null,
    iptables: {
      ...rules.iptables,
      ip: ip.replace(/(\*filter\n(?::.*\n)*)/, `$1:f2b-sshd - [0:0]\n${chain}`),
    },
  };
}

function captured(rules: FirewallPart): Reference {
  const [group] = strictPolicy.groups;
  if (group === undefined || firewall.capture === undefined) throw new Error('nothing to capture by');
  const about = { name: 'rules', state: 'active', group, node: 'node-0', by: 'bench', at: 0 } as const;
  return firewall.capture(provenWith(rules), about);
}

function host(): HostFacts {
  return {
    kernel: '6.12.48+deb13-amd64',
    os: 'Debian GNU/Linux 13 (trixie)',
    arch: 'x64',
    manufacturer: 'Dell Inc.',
    commandLine: 'BOOT_IMAGE=/vmlinuz-6.12.48+deb13-amd64 root=/dev/mapper/vg-root ro quiet nohibernate',
    kexecLoadDisabled: true,
    lockdown: 'integrity',
    bootTime: 1_795_000_000,
    systemUuid: '4c4c4544-0043-3510-8052-b4c04f4e3132',
    tainted: 0,
    listening: [53, 111, 2379, 2380, 6443, 10_248, 10_249, 10_250, 10_256, 10_257, 10_259],
    ssh: { ports: [], sockets: [], daemons: [] },
    sysctls: Object.fromEntries(sysctlNames.map((name) => [name, '1'])),
    timeSync: { by: 'systemd-timesyncd', synchronized: true },
    rebootRequired: false,
    newestKernel: '6.12.48+deb13-amd64',
    updates: { all: 12, security: 0 },
    runtimes: [
      { name: 'containerd', version: '1.7.24~ds1-6+b4' },
      { name: 'runc', version: '1.1.15+ds1-2+b4' },
    ],
  };
}
