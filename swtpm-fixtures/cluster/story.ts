import { tamperings } from '../tamper.ts';
import { type Cluster, type ClusterNode, unknownProgram } from './cluster.ts';
import { Expectations, patience } from './expectations.ts';
import type { Narrator } from './narrator.ts';

/** What may change on node-2: a part of its second boot, or something while it runs. */
export const changes = [...tamperings, 'firewall', 'disk', 'runtime', 'none'] as const;
export type Change = (typeof changes)[number];

/** The reason code that each change must lead to. */
const expectedCode: Readonly<Record<Change, string | null>> = {
  kernel: 'kernel_unknown',
  cmdline: 'cmdline_policy',
  secureboot: 'secureboot_off',
  firewall: 'fw_drift',
  disk: 'mount_not_encrypted',
  runtime: 'ima_unknown_file',
  none: null,
};

/**
 * Tells the main job from the first boot to a power loss, and checks each step.
 * @returns whether every expectation held
 */
export async function tellStory(
  cluster: Cluster,
  narrator: Narrator,
  options: { tamper: Change; powerLoss: boolean },
): Promise<boolean> {
  const expected = new Expectations(cluster, narrator);
  const [first, second, third] = cluster.nodes;
  if (first === undefined || second === undefined || third === undefined)
    throw new Error('the story needs three nodes');

  await enrol(cluster, narrator, third);
  await vouch(cluster, narrator);
  for (const node of cluster.nodes) await expected.state(node, 'trusted');

  narrator.say(`${first.name} loses power and boots again, unchanged.`);
  await first.reboot(first.log);
  await expected.rebooted(first);
  await expected.state(first, 'trusted');

  const { tamper: change } = options;
  await tellChange(cluster, narrator, second, change, expected);

  if (options.powerLoss) {
    narrator.say(`${third.name} loses power for good. Silence is never trusted.`);
    await third.powerOff();
    await expected.state(third, 'unknown', 'evidence_overdue');
  }
  return expected.sum({
    untrusted: change === 'none' || change === 'runtime' ? 0 : 1,
    unknown: options.powerLoss ? 1 : 0,
  });
}

/** One thing changes on a node that was trusted. */
export async function tellChange(
  cluster: Cluster,
  narrator: Narrator,
  node: ClusterNode,
  change: Change,
  expected: Expectations,
): Promise<void> {
  narrator.say(`${node.name} ${changed[change]}.`);
  if (change === 'none') await node.reboot(node.log);
  else await node.change(change);
  if (!whileItRuns.has(change)) await expected.rebooted(node);
  await expected.state(node, change === 'none' ? 'trusted' : 'untrusted', expectedCode[change]);
  if (change === 'runtime') {
    await allow(cluster, narrator, node, expected);
    await expected.state(node, 'trusted');
  }
}

/** As a sentence about a node. */
export const changed: Readonly<Record<Change, string>> = {
  kernel: 'loses power and boots again with another kernel',
  cmdline: 'loses power and boots again with another kernel command line',
  secureboot: 'loses power and boots again with Secure Boot switched off',
  firewall: 'runs on, and somebody puts a rule first in its firewall that lets SSH in',
  runtime: `runs on, and somebody starts ${unknownProgram} there, which nobody vouches for`,
  disk: 'runs on, and somebody mounts an unencrypted directory in the place of its container storage',
  none: 'loses power and boots again, unchanged',
};

/** Without another boot. */
const whileItRuns: ReadonlySet<Change> = new Set(['firewall', 'disk', 'runtime']);

/** The finding names the file, and one command allows it. */
async function allow(
  { operator, state }: Cluster,
  narrator: Narrator,
  { name }: ClusterNode,
  expected: Expectations,
): Promise<void> {
  const found = state(name)?.reasons.find(({ code }) => code === 'ima_unknown_file');
  expected.that(
    found?.text.includes(unknownProgram) === true,
    `the finding on ${name} to name ${unknownProgram}; it says: ${found?.text ?? 'nothing'}`,
  );
  narrator.say(`The operator knows ${unknownProgram}, and vouches for it alone: one command.`);
  await operator.assay(
    ...['reference', 'capture', name, '--kind', 'runtime'],
    ...['--only', unknownProgram, '--name', `${name}-one-file`],
    ...['--reason', 'a tool of ours', '--yes'],
  );
}

/** Each TPM is bound to a name: one by a join token, the others by an inventory. */
export async function enrol(
  { nodes, operator }: Cluster,
  narrator: Narrator,
  byToken: ClusterNode,
): Promise<void> {
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
export async function vouch(cluster: Cluster, narrator: Narrator): Promise<void> {
  await allSettled(cluster, narrator);
  const unknown = cluster.nodes.filter((node) => cluster.state(node.name)?.codes.includes('no_reference'));
  if (unknown.length === 0) return;
  narrator.say(
    'The operator vouches for what they booted and ran, their disks and their firewalls: `assay reference capture` makes references.',
  );
  await Promise.all(
    unknown.map(async (node) => {
      for (const kind of comparedKinds(cluster, node)) {
        const reference = kind === 'boot' ? node.name : `${node.name}-${kind}`;
        await cluster.operator.assay('reference', 'capture', node.name, '--name', reference, '--kind', kind);
      }
    }),
  );
}

/** The kinds of references that its policy needs. */
export function comparedKinds({ noFirewall }: Cluster, { measures }: ClusterNode): readonly string[] {
  return ['boot', 'disk', ...(noFirewall === null ? ['firewall'] : []), ...(measures ? ['runtime'] : [])];
}

/** Once each was judged, or waits for a reference. @throws Error where one does not answer */
export async function allSettled(cluster: Cluster, narrator: Narrator): Promise<void> {
  for (const node of cluster.nodes)
    if (!(await settled(cluster, narrator, node)))
      throw new Error(`${node.name} did not answer; see its log with --log-level info`);
}

async function settled(cluster: Cluster, narrator: Narrator, { name }: ClusterNode): Promise<boolean> {
  using _wait = narrator.waiting(`the first verdict on ${name}`, patience);
  const deadline = performance.now() + patience;
  while (performance.now() < deadline) {
    const now = cluster.state(name);
    if (now !== null && (now.state !== 'pending' || now.codes.includes('no_reference'))) return true;
    await cluster.reaches(name, 'pending', 'no_reference', 250);
  }
  return false;
}
