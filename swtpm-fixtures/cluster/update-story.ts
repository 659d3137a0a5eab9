import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { headerBytes, madePe } from '../made-pe.ts';
import { siblingLog } from '../sibling.ts';
import { updatedLog } from '../updated-boot.ts';
import type { Alarms } from './alarms.ts';
import type { Cluster, ClusterNode } from './cluster.ts';
import { Expectations, patience } from './expectations.ts';
import type { Narrator } from './narrator.ts';
import { allSettled, enrol } from './story.ts';

/** The recorded boot of the whole fleet, and the version that its kernel has in its name. */
export const fleetRecording = 'centos9-shim-grub';
const from = '5.14.0-183.el9.x86_64';
const to = '5.14.0-570.el9.x86_64';

/** References of whole boots with each kernel, and that of the new kernel's files. */
const [oldBoot, newBoot, newKernel] = ['boot-183', 'boot-570', 'kernel-570'];

/** A machine of the fleet: its firmware gives its disk another number, and its file system has an identifier of its own. */
export function fleetMachine(log: Buffer, index: number): Buffer {
  const its = `05ee75${index.toString(16).padStart(2, '0')}`;
  const text = (line: string) => line.replaceAll('hd0', `hd${index}`).replaceAll('05ee75fe', its);
  return siblingLog(log, { text, configuration: true, firmwareSettings: true });
}

interface Told {
  readonly cluster: Cluster;
  readonly narrator: Narrator;
  readonly alarms: Alarms;
  readonly expected: Expectations;
  /** Types a command and shows it; of what `why` says, the sentence alone. @throws ToolError where it failed */
  readonly type: (...args: readonly string[]) => Promise<string>;
}

/**
 * Tells how a fleet gets another kernel, from its files to the revocation of the old one, and checks that nobody is woken
 * before a machine boots what was revoked.
 * @returns whether every expectation held
 */
export async function tellUpdateStory(
  cluster: Cluster,
  alarms: Alarms,
  narrator: Narrator,
): Promise<boolean> {
  const { nodes } = cluster;
  const half = Math.ceil(nodes.length / 2);
  const [first, last] = [nodes[0], nodes.at(-1)];
  if (first === undefined || last === undefined) throw new Error('the story needs nodes');
  const told = {
    cluster,
    narrator,
    alarms,
    expected: new Expectations(cluster, narrator),
    type: typing(cluster, narrator),
  };

  await vouchForOne(told, first, last);
  const boots = await stage(told);
  await announce(told);
  narrator.say(`Half of the nodes boot ${to}.`);
  await bootAll(told, nodes.slice(0, half), boots, 'change_expected');
  await approve(told, first);
  narrator.say('The other nodes boot it, too.');
  await bootAll(told, nodes.slice(half), boots, null);
  await retire(told, first);
  await revoke(told);
  told.expected.that(
    alarms.raised.length === 0,
    `nobody to be woken until here; but ${alarms.raised.join(', ')}`,
  );
  narrator.say('Until here no node was untrusted for a moment, and no alert woke anybody.');
  await bootRevoked(told, last);
  return told.expected.sum({ untrusted: 1, unknown: 0 });
}

async function vouchForOne(told: Told, captured: ClusterNode, byToken: ClusterNode): Promise<void> {
  const { cluster, narrator, type } = told;
  await enrol(cluster, narrator, byToken);
  await allSettled(cluster, narrator);
  narrator.say(
    `All start by shim and GRUB, from disks with other numbers and identifiers. The operator vouches for ${captured.name}; the others are like it.`,
  );
  if (cluster.noFirewall === null)
    await type(...['reference', 'capture', captured.name, '--kind', 'firewall', '--name', 'rules']);
  await type('reference', 'capture', captured.name, '--name', oldBoot);
  for (const node of cluster.nodes) await told.expected.state(node, 'trusted');
}

/** What GRUB starts from now on, by machine. */
type Boots = (node: ClusterNode) => Buffer;

async function stage({ cluster, narrator, type }: Told): Promise<Boots> {
  const kernel = madePe(
    true,
    [{ at: headerBytes, content: Buffer.from(`Linux version ${to}\n`) }],
    Buffer.alloc(0),
  );
  const initrd = Buffer.from(`the initrd of ${to}\n`);
  const at = (name: string) => join(cluster.dir, name);
  const files = {
    kernel: at(`vmlinuz-${to}`),
    initrd: at(`initramfs-${to}.img`),
    reference: at(`${newKernel}.json`),
  };
  await writeFile(files.kernel, kernel);
  await writeFile(files.initrd, initrd);
  narrator.say(
    `There is a new kernel, ${to}. No machine has run it: its reference is computed of its files.`,
  );
  await type(
    ...['reference', 'compute', '--name', newKernel, '--group', fleetRecording],
    ...['--kernel', files.kernel, '--initrd', files.initrd, '-f', files.reference],
  );
  await type('reference', 'import', files.reference);
  return ({ log }) => updatedLog(log, { kernel, initrd, from, to });
}

async function announce(told: Told): Promise<void> {
  told.narrator.say(
    'It is staged, which makes no node trusted yet. The operator says that the update comes.',
  );
  await told.type(
    ...['expect', '--group', fleetRecording, '--reference', newKernel],
    ...['--for', '8h', '--reason', 'kernel update'],
  );
  await stillTrusted(told);
}

async function bootAll(
  { expected }: Told,
  nodes: readonly ClusterNode[],
  boots: Boots,
  code: string | null,
): Promise<void> {
  await Promise.all(nodes.map((node) => node.reboot(boots(node))));
  for (const node of nodes) {
    await expected.rebooted(node);
    await expected.state(node, 'trusted', code);
  }
}

async function approve(told: Told, booted: ClusterNode): Promise<void> {
  const { narrator, type, expected } = told;
  const why = await type('why', booted.name);
  expected.that(
    why.includes(newKernel),
    `\`assay why ${booted.name}\` to name ${newKernel}; it says: ${why}`,
  );
  const waiting = await type('reference', 'candidates');
  expected.that(
    waiting.includes(`assay reference approve ${newKernel}`),
    `\`assay reference candidates\` to give the command that approves ${newKernel}; it says: ${waiting}`,
  );
  narrator.say('They work. The operator approves the kernel for good.');
  await type(...step('approve', newKernel, 'half of the nodes run it'));
  await stillTrusted(told);
  for (const { name } of told.cluster.nodes)
    expected.that(
      told.cluster.state(name)?.codes.includes('change_expected') === false,
      `${name} to be trusted by what is approved, and not by what is announced`,
    );
}

async function retire(told: Told, booted: ClusterNode): Promise<void> {
  const { narrator, type } = told;
  narrator.say(
    `The first capture still vouches for the old kernel, and for firmware and loader. A capture of ${booted.name} takes its place.`,
  );
  await type('reference', 'capture', booted.name, '--name', newBoot);
  await type(...step('retire', oldBoot, `all nodes run ${to}`));
  await stillTrusted(told);
}

async function revoke(told: Told): Promise<void> {
  told.narrator.say(
    'Then the old kernel is found to have a hole. It is revoked: no policy takes it any more.',
  );
  await told.type(...step('revoke', oldBoot, 'a hole in its kernel'));
  await stillTrusted(told);
}

async function bootRevoked({ narrator, expected, alarms }: Told, node: ClusterNode): Promise<void> {
  narrator.say(
    `Somebody chooses the old kernel in the menu of ${node.name}. Its signature is as good as ever.`,
  );
  await node.reboot(node.log);
  await expected.state(node, 'untrusted', 'revoked_reference');
  const alarm = `${node.name} is untrusted (revoked_reference)`;
  expected.that(
    alarms.raised.join() === alarm,
    `one alarm, that ${alarm}; there is: ${alarms.raised.join(', ') || 'none'}`,
  );
}

/** That each node is judged by what is in force now, and trusted: the second verdict from now on began after this. */
async function stillTrusted({ cluster, narrator, alarms, expected }: Told): Promise<void> {
  using _wait = narrator.waiting('every node to be judged anew', patience);
  const since = new Map(cluster.nodes.map(({ name }) => [name, alarms.verdictsOn(name)]));
  const isJudged = ({ name }: ClusterNode) => alarms.verdictsOn(name) >= (since.get(name) ?? 0) + 2;
  expected.that(
    await cluster.next(() => cluster.nodes.every(isJudged), patience),
    'every node to be judged again',
  );
  for (const node of cluster.nodes) await expected.state(node, 'trusted');
}

function step(verb: string, reference: string, reason: string): readonly string[] {
  return ['reference', verb, reference, '--reason', reason, '--yes'];
}

function typing({ operator }: Cluster, narrator: Narrator): Told['type'] {
  return async (...args) => {
    const output = await operator.assay(...args);
    narrator.typed(['assay', ...args].map(quoted).join(' '), output.split(/\n +component /)[0] ?? '');
    return output;
  };
}

function quoted(word: string): string {
  return /^[\w./:=-]+$/.test(word) ? word : `"${word}"`;
}
