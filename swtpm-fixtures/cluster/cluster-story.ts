import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, ClusterNode } from './cluster.ts';
import { Expectations, patience } from './expectations.ts';
import type { MarkedNodes } from './marked-nodes.ts';
import type { Narrator } from './narrator.ts';
import { allSettled, changed, enrol } from './story.ts';

/** What is told: a cluster, its Nodes in Kubernetes, and who says it. */
interface Told {
  readonly cluster: Cluster;
  readonly marked: MarkedNodes;
  readonly narrator: Narrator;
  readonly expected: MarkExpectations;
}

const wrongReference = 'next-kernel';

/**
 * Tells what becomes of the Nodes of a Kubernetes cluster, from their registration to a mistake of people, and checks each
 * step. Its nodes are of one model, in one group.
 * @returns whether every expectation held
 */
export async function tellClusterStory(
  cluster: Cluster,
  marked: MarkedNodes,
  narrator: Narrator,
): Promise<boolean> {
  const [first, second, third] = cluster.nodes;
  if (first === undefined || second === undefined || third === undefined)
    throw new Error('the story needs three nodes');
  const told = { cluster, marked, narrator, expected: new MarkExpectations(cluster, marked, narrator) };
  await register(told);
  await becomeTrusted(told, first, third);
  await rebootUnchanged(told, first);
  await tamperWith(told, second);
  await makeAnew(told, second);
  await prepareMistake(told, second);
  await recover(told, second);
  await breakReferences(told, first);
  await releaseBreaker(told);
  await mend(told, first);
  told.expected.foreignIsLeft();
  return told.expected.sum({ untrusted: 0, unknown: 0 });
}

async function register({ cluster, marked, narrator, expected }: Told): Promise<void> {
  narrator.say(
    'The kubelets register their Nodes. Each has a taint and a label of another program, which nobody here may touch.',
  );
  for (const { name } of cluster.nodes) await marked.register(name);
  for (const node of cluster.nodes) await expected.marks(node, 'pending');
  narrator.say(
    'Each Node carries the taint assay.dev/pending: no pod that does not tolerate it starts there.',
  );
}

async function becomeTrusted(told: Told, captured: ClusterNode, byToken: ClusterNode): Promise<void> {
  const { cluster, narrator } = told;
  await enrol(cluster, narrator, byToken);
  await allSettled(cluster, narrator);
  narrator.say(
    `The operator vouches for what ${captured.name} booted and ran, its disk and its firewall. The others are of its model: they follow.`,
  );
  const kinds = ['disk', ...(cluster.noFirewall === null ? ['firewall'] : []), 'runtime', 'boot'];
  for (const kind of kinds)
    await cluster.operator.assay(
      ...['reference', 'capture', captured.name, '--kind', kind],
      ...['--name', kind === 'boot' ? captured.name : `${captured.name}-${kind}`],
    );
  await allTrusted(told);
  narrator.say('The taint is gone from each Node, and each has the label by which sensitive pods choose it.');
}

async function rebootUnchanged({ narrator, expected }: Told, node: ClusterNode): Promise<void> {
  narrator.say(
    `${node.name} loses power and boots again, unchanged. Its disks are looked at a moment later.`,
  );
  await node.reboot(node.log, async () => {
    await expected.state(node, 'pending');
    await expected.marks(node, 'reproving');
    narrator.say(`Node ${node.name} carries assay.dev/reproving, since its new boot is not proven yet.`);
  });
  await expected.rebooted(node);
  await expected.state(node, 'trusted');
  await expected.marks(node, 'label');
}

async function tamperWith({ narrator, expected }: Told, node: ClusterNode): Promise<void> {
  narrator.say(`${node.name} ${changed.kernel}.`);
  await node.change('kernel');
  await expected.state(node, 'untrusted', 'kernel_unknown');
  await expected.marks(node, untrusted);
  narrator.say(`Node ${node.name} lost the label, and carries assay.dev/${untrusted}.`);
}

async function makeAnew({ marked, narrator, expected }: Told, node: ClusterNode): Promise<void> {
  narrator.say(`Somebody deletes Node ${node.name} and has it registered again, to get rid of the taint.`);
  await marked.remove(node.name);
  expected.that(
    await marked.next(() => !marked.isAttested(node.name), patience),
    `the resource of ${node.name} to go with its Node`,
  );
  await marked.register(node.name);
  if (await expected.marks(node, untrusted))
    narrator.say('It does not help: the Node is marked again at its creation, since the TPM is the same.');
}

/** A reference of the boot that was tampered with: it waits for approval. */
async function prepareMistake({ cluster, narrator }: Told, node: ClusterNode): Promise<void> {
  await cluster.operator.assay(
    ...['reference', 'capture', node.name, '--kind', 'boot', '--name', wrongReference, '--staged'],
  );
  narrator.say(
    `A colleague takes that kernel for the next one, and captures it as reference ${wrongReference}. It is staged: nobody is trusted by it.`,
  );
}

async function recover({ narrator, expected }: Told, node: ClusterNode): Promise<void> {
  narrator.say(`${node.name} is repaired: it boots as before.`);
  await node.reboot(node.log);
  await expected.state(node, 'trusted');
  await expected.marks(node, 'label');
}

async function breakReferences(told: Told, captured: ClusterNode): Promise<void> {
  const { cluster, marked, narrator, expected } = told;
  narrator.say(
    `By mistake, ${wrongReference} is approved and the good reference ${captured.name} retired. Now every node boots what nobody vouches for.`,
  );
  await step(cluster, 'approve', wrongReference, 'the roll-out begins');
  await step(cluster, 'retire', captured.name, 'the roll-out is over');
  for (const node of cluster.nodes) await expected.state(node, 'untrusted', 'kernel_unknown');
  for (const { name } of cluster.nodes) {
    using _wait = narrator.waiting(`Node ${name} to lose the label`, patience);
    expected.that(
      await marked.next(() => marked.marks(name)?.includes('label') === false, patience),
      `Node ${name} to lose the label at once`,
    );
  }
  expected.that(await holds(cluster), '`assay breaker list` to exit with 12, since taints wait for a person');
  const tainted = cluster.nodes.filter(({ name }) => marked.marks(name)?.includes(untrusted));
  expected.that(
    tainted.length === 0,
    `no node to be tainted for a change of ours before a person says so; ${tainted.length} are`,
  );
  narrator.say(
    'The labels are gone at once. No taint comes: the references changed, and not the nodes, so that a person decides.',
  );
}

async function releaseBreaker({ cluster, narrator, expected }: Told): Promise<void> {
  narrator.say('The person on call takes it for an attack: `assay breaker release`. Now the taints come.');
  await cluster.operator.assay(...['breaker', 'release', '--reason', 'the kernel is not ours', '--yes']);
  for (const node of cluster.nodes) await expected.marks(node, untrusted);
  expected.that(
    !(await cluster.operator.isHeld('breaker', 'list')),
    'nothing to wait for a person after the release',
  );
}

async function mend(told: Told, captured: ClusterNode): Promise<void> {
  const { cluster, narrator } = told;
  narrator.say(
    `Then they find the mistake in the audit log, approve ${captured.name} again and retire ${wrongReference}.`,
  );
  await step(cluster, 'approve', captured.name, 'it was retired by mistake');
  await step(cluster, 'retire', wrongReference, 'it was approved by mistake');
  await allTrusted(told);
  narrator.say(
    'All nodes are trusted and their taints gone. Taint and label of the other program never moved.',
  );
}

const untrusted = 'untrusted=kernel_unknown';

async function allTrusted({ cluster, expected }: Told): Promise<void> {
  for (const node of cluster.nodes) await expected.state(node, 'trusted');
  for (const node of cluster.nodes) await expected.marks(node, 'label');
}

function step({ operator }: Cluster, verb: string, reference: string, reason: string): Promise<string> {
  return operator.assay('reference', verb, reference, '--reason', reason, '--yes');
}

/** Whether something waits for a person, asked until it does: a verdict is committed before its marks are decided. */
async function holds({ operator }: Cluster): Promise<boolean> {
  const deadline = performance.now() + patience;
  while (performance.now() < deadline) {
    if (await operator.isHeld('breaker', 'list')) return true;
    await sleep(100);
  }
  return false;
}

class MarkExpectations extends Expectations {
  readonly #cluster: Cluster;
  readonly #marked: MarkedNodes;
  readonly #narrator: Narrator;

  constructor(cluster: Cluster, marked: MarkedNodes, narrator: Narrator) {
    super(cluster, narrator);
    this.#cluster = cluster;
    this.#marked = marked;
    this.#narrator = narrator;
  }

  /** That the Node comes to carry this alone, of what is ours. */
  async marks({ name }: ClusterNode, mark: string): Promise<boolean> {
    using _wait = this.#narrator.waiting(`Node ${name} to carry ${mark}`, patience);
    const isSo = await this.#marked.next(() => this.#marked.marks(name)?.join() === mark, patience);
    const now = this.#marked.marks(name)?.join(', ') ?? 'not there';
    this.that(isSo, `Node ${name} to carry ${mark} of ours alone; it is: ${now}`);
    this.foreignIsLeft();
    return isSo;
  }

  foreignIsLeft(): void {
    for (const { name } of this.#cluster.nodes)
      this.that(this.#marked.isForeignLeft(name), `taint and label of others on Node ${name} to stay`);
  }
}
