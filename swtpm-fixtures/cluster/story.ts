import type { NodeState } from '../../attest-server/protocol/verdict.ts';
import { tamperings } from '../tamper.ts';
import type { Cluster, ClusterNode } from './cluster.ts';
import type { Narrator } from './narrator.ts';

/** What may change on node-2: a part of its second boot, or something while it runs. */
export const changes = [...tamperings, 'firewall', 'disk', 'none'] as const;
export type Change = (typeof changes)[number];

/** The reason code that each change must lead to. */
const expectedCode: Readonly<Record<Change, string | null>> = {
  kernel: 'kernel_unknown',
  cmdline: 'cmdline_policy',
  secureboot: 'secureboot_off',
  firewall: 'fw_drift',
  disk: 'mount_not_encrypted',
  none: null,
};

const patience = 20_000;

/**
 * Tells the main job from the first boot to a power loss, and checks each step.
 * @returns whether every expectation held
 */
export async function tellStory(
  cluster: Cluster,
  narrator: Narrator,
  options: { tamper: Change; powerLoss: boolean },
): Promise<boolean> {
  let ok = true;
  const expect = async (node: ClusterNode, state: NodeState, code: string | null = null) => {
    if (await cluster.reaches(node.name, state, code, patience)) return;
    ok = false;
    const now = cluster.state(node.name);
    const wanted = code === null ? state : `${state} (${code})`;
    narrator.say(
      `EXPECTED ${node.name} to become ${wanted}; it is ${now?.state ?? 'not seen'} (${now?.codes.join(', ') ?? ''}).`,
    );
  };
  const expectReboot = ({ name }: ClusterNode) => {
    if (cluster.saw(name, 'rebooted')) return;
    ok = false;
    narrator.say(`EXPECTED ${name} to be known as rebooted before it was judged.`);
  };
  const [first, second, third] = cluster.nodes;
  if (first === undefined || second === undefined || third === undefined)
    throw new Error('the story needs three nodes');

  await enrol(cluster, narrator, third);
  await vouch(cluster, narrator);
  for (const node of cluster.nodes) await expect(node, 'trusted');

  narrator.say(`${first.name} loses power and boots again, unchanged.`);
  await first.reboot(first.log);
  await expect(first, 'trusted');
  expectReboot(first);

  const { tamper: change } = options;
  if (change === 'firewall' && cluster.noFirewall !== null)
    throw new Error(`--tamper firewall needs nodes with a firewall: ${cluster.noFirewall}`);
  narrator.say(`${second.name} ${changed[change]}.`);
  if (change === 'none') await second.reboot(second.log);
  else await second.change(change);
  await expect(second, change === 'none' ? 'trusted' : 'untrusted', expectedCode[change]);
  if (change !== 'firewall' && change !== 'disk') expectReboot(second);

  if (options.powerLoss) {
    narrator.say(`${third.name} loses power for good. Silence is never trusted.`);
    await third.powerOff();
    await expect(third, 'unknown', 'evidence_overdue');
  }
  const states = cluster.nodes.map(({ name }) => cluster.state(name)?.state);
  const count = (state: NodeState) => states.filter((each) => each === state).length;
  const counts = {
    nodes: states.length,
    trusted: count('trusted'),
    untrusted: count('untrusted'),
    unknown: count('unknown'),
  };
  const untrusted = change === 'none' ? 0 : 1;
  const unknown = options.powerLoss ? 1 : 0;
  if (
    counts.untrusted !== untrusted ||
    counts.unknown !== unknown ||
    counts.trusted !== states.length - untrusted - unknown
  )
    ok = false;
  narrator.summary(counts, ok);
  return ok;
}

/** As a sentence about a node. */
export const changed: Readonly<Record<Change, string>> = {
  kernel: 'loses power and boots again with another kernel',
  cmdline: 'loses power and boots again with another kernel command line',
  secureboot: 'loses power and boots again with Secure Boot switched off',
  firewall: 'runs on, and somebody puts a rule first in its firewall that lets SSH in',
  disk: 'runs on, and somebody mounts an unencrypted directory in the place of its container storage',
  none: 'loses power and boots again, unchanged',
};

/** Each TPM is bound to a name: one by a join token, the others by an inventory. */
async function enrol({ nodes, operator }: Cluster, narrator: Narrator, byToken: ClusterNode): Promise<void> {
  const pinned = nodes.filter((node) => node !== byToken);
  narrator.say(
    `The operator imports the endorsement keys of ${pinned.map(({ name }) => name).join(', ')} from an inventory.`,
  );
  await operator.importKeys(pinned.map(({ name, ekDigest }) => ({ node: name, ekDigest })));
  narrator.say(`For ${byToken.name} the operator makes a join token: one use, one name, one hour.`);
  const token = await operator.createJoinToken(byToken.name);
  narrator.say(
    'The agents start. Each proves that its attestation key lives in the TPM with that endorsement key.',
  );
  await Promise.all(nodes.map((node) => node.startAgent(node === byToken ? token : undefined)));
}

/** Makes references of the boots of those nodes that have none yet. */
async function vouch(cluster: Cluster, narrator: Narrator): Promise<void> {
  for (const node of cluster.nodes)
    if (!(await settled(cluster, node)))
      throw new Error(`${node.name} did not answer; see its log with --log-level info`);
  const unknown = cluster.nodes.filter((node) => cluster.state(node.name)?.codes.includes('no_reference'));
  if (unknown.length === 0) return;
  narrator.say(
    'The operator vouches for what they booted, their disks and their firewalls: `assay reference capture` makes references.',
  );
  const kinds = cluster.noFirewall === null ? ['boot', 'disk', 'firewall'] : ['boot', 'disk'];
  await Promise.all(
    unknown.map(async ({ name }) => {
      for (const kind of kinds) {
        const reference = kind === 'boot' ? name : `${name}-${kind}`;
        await cluster.operator.assay('reference', 'capture', name, '--name', reference, '--kind', kind);
      }
    }),
  );
}

async function settled(cluster: Cluster, { name }: ClusterNode): Promise<boolean> {
  const deadline = performance.now() + patience;
  while (performance.now() < deadline) {
    const now = cluster.state(name);
    if (now !== null && (now.state !== 'pending' || now.codes.includes('no_reference'))) return true;
    await cluster.reaches(name, 'pending', 'no_reference', 250);
  }
  return false;
}
