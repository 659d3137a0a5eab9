import type { NodeState } from '../../attest-server/protocol/verdict.ts';
import { tamper } from '../tamper.ts';
import type { Cluster, ClusterNode } from './cluster.ts';
import type { Narrator } from './narrator.ts';

/** The part of the second boot of node-2 that may change. */
export const changes = ['kernel', 'cmdline', 'secureboot', 'none'] as const;
export type Change = (typeof changes)[number];

/** The reason code that each change must lead to. */
const expectedCode: Readonly<Record<Change, string | null>> = {
  kernel: 'kernel_unknown',
  cmdline: 'cmdline_policy',
  secureboot: 'secureboot_off',
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
  narrator.say(
    `${second.name} loses power and boots again${change === 'none' ? ', unchanged' : ` with ${changed[change]}`}.`,
  );
  await second.reboot(change === 'none' ? second.log : tamper(second.log, change));
  await expect(second, change === 'none' ? 'trusted' : 'untrusted', expectedCode[change]);
  expectReboot(second);

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

const changed = {
  kernel: 'another kernel',
  cmdline: 'another kernel command line',
  secureboot: 'Secure Boot switched off',
} as const;

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
    'The operator vouches for what they booted: `assay reference capture` makes it the reference.',
  );
  for (const { name } of unknown) await cluster.operator.assay('reference', 'capture', name, '--name', name);
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
