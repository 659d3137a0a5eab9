/**
 * The packages for Debian: `packages` says what each holds and needs, `build` makes them of the compiled programs, the units of
 * `manifests/host` and the pinned Node.js. The scripts beside it run when one is installed or removed. See `docs/install.md`.
 */

import { type Recipe, recipes } from '../images/recipe.ts';

/** One package. What programs need is in `recipe`, as images have it. */
export interface DebianRecipe {
  readonly name: 'assay-server' | 'assay-agent';
  /** Programs and their flags. */
  readonly recipe: Pick<Recipe, 'rooms' | 'commands'>;
  /** By the name on PATH, the command that it is another name of. */
  readonly links: Readonly<Record<string, string>>;
  readonly depends: readonly string[];
  readonly recommends: readonly string[];
  readonly summary: string;
  readonly description: string;
  /** The one that is enabled; its configuration decides whether it starts. */
  readonly service: string;
  readonly config: string;
  /** All of manifests/host that it brings, without the service. */
  readonly units: readonly string[];
  /** What the service starts with itself. */
  readonly wants: readonly string[];
  /** Drop-ins of the service: the file of manifests/host by its name. */
  readonly dropIns: Readonly<Record<string, string>>;
  /** Drop-ins of other people's services, which people put in place themselves. */
  readonly examples: readonly string[];
  readonly state: readonly string[];
}

/** What the Node.js of npm links against. */
const ofNode = ['libc6 (>= 2.28)', 'libstdc++6 (>= 9)', 'libgcc-s1', 'libatomic1', 'systemd'];

export const packages: readonly DebianRecipe[] = [
  {
    name: 'assay-server',
    recipe: recipes.server,
    links: { 'kubectl-assay': 'assay' },
    depends: [...ofNode, 'openssl'],
    recommends: [],
    summary: 'node attestation for Kubernetes: server and command line',
    description:
      'Verifies what nodes booted, by evidence that their TPMs sign, and says by policy which are trusted. With the command assay, which is a plugin of kubectl as well.',
    service: 'assay-server.service',
    config: '/etc/assay/server.yaml',
    units: [],
    wants: [],
    dropIns: {},
    examples: [],
    state: ['/var/lib/assay'],
  },
  {
    name: 'assay-agent',
    recipe: recipes.agent,
    links: {},
    depends: [...ofNode, 'tpm2-tools', 'nftables', 'dmsetup'],
    recommends: ['iptables'],
    summary: 'node attestation for Kubernetes: agent of a node',
    description:
      'Proves to an Assay server what this machine booted, signed by its TPM. The agent itself has no rights: helpers hold the TPM, and read disks and the rules of the firewall.',
    service: 'assay-agent.service',
    config: '/etc/assay/agent.yaml',
    units: [
      ...['assay-gate.service', 'assay-inspect.path', 'assay-inspect.service', 'assay-inspect.timer'],
      ...['assay-netfilter.service', 'assay-tpm-broker.service', 'assay-tpm-broker.socket'],
      ...['assay-unlock@.service', 'assay-unlock@.socket', 'assay-cap.service', 'assay-volume@.service'],
      'assay-rotate@.service',
    ],
    // The drop-ins want the others.
    wants: ['assay-inspect.timer', 'assay-inspect.path'],
    dropIns: {
      'netfilter.conf': 'assay-agent.netfilter.conf',
      'tpm-broker.conf': 'assay-agent.tpm-broker.conf',
    },
    examples: ['assay-cap.require.conf', 'assay-cap.volumes.conf'],
    state: ['/var/lib/assay-agent', '/var/lib/assay-gate', '/var/lib/assay-unlock'],
  },
];
