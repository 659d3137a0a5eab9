import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { openTpm, ToolError, type Tpm } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { readIdentity } from '../../agent/identity.ts';
import { noState } from '../../agent/state-dir.ts';
import { LeaseConversation } from '../../agent/unlock/lease-conversation.ts';
import { createLogger } from '../../attest-server/settings/logger.ts';
import type { KeyRelease } from '../../attest-server/wire/key-release.ts';
import type { Programs } from '../programs.ts';
import { tamper } from '../tamper.ts';
import { type UnlockingMachine, unlockingMachine } from '../unlocking-machine.ts';
import type { Cluster, ClusterNode, DiskKeys } from './cluster.ts';
import { Expectations } from './expectations.ts';
import type { Narrator } from './narrator.ts';
import { allSettled } from './story.ts';

/** What must not lie beside the database: the wrapping key, and what opens the escrow. */
export interface KeyCustody extends AsyncDisposable {
  readonly keys: DiskKeys;
  /** Of age, in its own form. */
  readonly identity: string;
  /** For what the operator writes there. */
  readonly dir: string;
}

/** @throws ToolError if a program is missing that the story needs */
export async function openKeyCustody(): Promise<KeyCustody> {
  for (const program of ['cryptsetup', 'systemd-socket-activate'])
    await run(program, ['--version'], { timeoutMs: 5_000, maxOutputBytes: 65_536 });
  const dir = await mkdtemp(join(tmpdir(), 'assay-custody-'));
  const wrappingKeyFile = join(dir, 'wrapping-key');
  await writeFile(wrappingKeyFile, randomBytes(32).toString('base64'), { mode: 0o400 });
  const identity = await generateIdentity();
  return {
    keys: { wrappingKeyFile, recipient: await identityToRecipient(identity) },
    identity,
    dir,
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** The name of the volume, as its node calls it, and where it is mounted. */
const [volume, mounted] = ['docker', '/var/lib/docker'];
/** Seconds for which a node asks in vain. */
const inVain = 6;

export interface DiskTale {
  readonly cluster: Cluster;
  readonly narrator: Narrator;
  readonly expected: Expectations;
  readonly custody: KeyCustody;
  readonly node: ClusterNode;
  readonly disk: UnlockingMachine;
  /** Types a command of `assay` and shows it. @throws ToolError where it failed */
  readonly type: (...args: readonly string[]) => Promise<string>;
}

/**
 * Tells the life of an encrypted disk, which is a file, from its first format to the recovery without a server, and checks each
 * step: the key must open the volume, and whoever gets none must get none.
 * @returns whether every expectation held
 */
export async function tellKeyStory(
  cluster: Cluster,
  custody: KeyCustody,
  narrator: Narrator,
  programs: Programs,
): Promise<boolean> {
  return withDisk(cluster, custody, narrator, programs, async (told) => {
    await trust(told);
    const uuid = await format(told);
    const files = await escrow(told);
    await unlock(told, uuid);
    await cap(told, uuid);
    await changeKernel(told, uuid);
    await recover(told, files);
    return told.expected.sum({ untrusted: 1, unknown: 0 });
  });
}

/** Tells a story of one node and its disk. */
export async function withDisk(
  cluster: Cluster,
  custody: KeyCustody,
  narrator: Narrator,
  programs: Programs,
  tell: (tale: DiskTale) => Promise<boolean>,
): Promise<boolean> {
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error('the story needs a node');
  const server = { port: cluster.server.agentPort, caFile: cluster.server.caFile };
  await using disk = await unlockingMachine(node.machine, node.name, server, programs['assay-agent']);
  const type = async (...args: readonly string[]) => {
    const output = await cluster.operator.assay(...args);
    narrator.typed(['assay', ...args].join(' '), output);
    return output;
  };
  const expected = new Expectations(cluster, narrator);
  return await tell({ cluster, narrator, expected, custody, node, disk, type });
}

export async function trust({ cluster, narrator, expected, node, type }: DiskTale): Promise<void> {
  narrator.say(
    'The server keeps the keys of disks in its database, encrypted by a wrapping key that lies elsewhere: a stolen database opens no disk.',
  );
  narrator.say(
    'Most distributions do not measure their root file system. The policy allows that (allowUnmeasuredRoot); else no node would get a key here.',
  );
  narrator.say(
    `The operator imports the endorsement key of ${node.name} from an inventory. So a person vouches for its TPM: no other gets the key of a disk.`,
  );
  await cluster.operator.importKeys([{ node: node.name, ekDigest: node.ekDigest }]);
  await node.startAgent();
  await allSettled(cluster, narrator);
  narrator.say('The operator vouches for what it booted: `assay reference capture` makes a reference.');
  await type('reference', 'capture', node.name, '--name', 'boot-1');
  await expected.state(node, 'trusted');
}

/** @returns the LUKS UUID of the volume */
export async function format({ narrator, expected, node, disk, type }: DiskTale): Promise<string> {
  narrator.say(
    `${node.name} gets an encrypted disk. The server makes its key, and lets this node alone format it, once.`,
  );
  const made = await type('disk', 'init', node.name, '--volume', volume, '--path', mounted);
  const uuid = /LUKS UUID ([0-9a-f-]{36})/.exec(made)?.[1];
  if (uuid === undefined) throw new Error(`assay disk init named no LUKS UUID: ${made}`);
  narrator.say(
    `On ${node.name}, root types the first of these lines. Here the disk is a blank file, and nothing is mapped or mounted.`,
  );
  const command = `assay-agent format --volume ${uuid} --device ${disk.device}`;
  narrator.typed(command, (await disk.format(uuid)).join('\n'));
  const again = await disk.format(uuid).then(() => 'it was formatted again', String);
  expected.that(again.includes('nothing was written'), `a second format to be refused; but ${again}`);
  narrator.say('Typed a second time, it refuses and writes nothing.');
  const listed = await type('disk', 'list');
  expected.that(
    / formatted /.test(listed),
    `\`assay disk list\` to show the volume as formatted; it says: ${listed}`,
  );
  return uuid;
}

interface EscrowFiles {
  readonly passphrase: string;
  readonly header: string;
}

async function escrow({ narrator, expected, custody, disk, node, type }: DiskTale): Promise<EscrowFiles> {
  const files = { passphrase: join(custody.dir, 'docker.age'), header: join(custody.dir, 'header.age') };
  narrator.say(
    'Before the disk was written, the server had its header and a recovery passphrase, both encrypted by age. The operator puts them into files, for a day without a server.',
  );
  await type('disk', 'escrow', node.name, volume, '-f', files.passphrase, '--header', files.header);
  const header = await decrypted(files.header, custody);
  expected.that(
    header.length > 0 && header.equals(await firstBytes(disk.device, header.length)),
    'the header in escrow to be that of the disk',
  );
  return files;
}

/** Whether the key that a boot gets opens its disk, as it should. */
export async function unlocked(
  { narrator, expected, node, disk }: Pick<DiskTale, 'narrator' | 'expected' | 'node' | 'disk'>,
  uuid: string,
): Promise<boolean> {
  await using program = disk.unlock(uuid);
  const key = await program.read();
  const { said } = await program.ended;
  narrator.typed('assay-agent unlock', consoleOf(said));
  const opens = await disk.opens(key);
  key.fill(0);
  expected.that(opens, `the key that ${node.name} got to open its disk; it said: ${said}`);
  return opens;
}

async function unlock({ narrator, expected, node, disk }: DiskTale, uuid: string): Promise<void> {
  narrator.say(
    `${node.name} loses power and boots again, unchanged. On a real machine, systemd-cryptsetup reads the key from a socket. Behind it, \`assay-agent unlock\` asks the server.`,
  );
  await node.boot(node.log);
  const opens = await unlocked({ narrator, expected, node, disk }, uuid);
  expected.that(!(await disk.opens(randomBytes(32))), 'another key to open nothing');
  if (opens)
    narrator.say(
      'The key opens the disk: `cryptsetup open --test-passphrase` took it through a pipe. A random key does not.',
    );
}

async function cap(told: DiskTale, uuid: string): Promise<void> {
  const { narrator, expected, node, disk } = told;
  const { machine } = node;
  const sealed = await sealedAnswer(told, uuid);
  const unseals = async () => {
    await using tpm = await openTpm({ tcti: machine.tpm.tcti });
    return await unsealed(tpm, sealed);
  };
  const before = await unseals();
  expected.that(before === null, `the TPM to unseal that answer before the cap; it says: ${before}`);
  narrator.say(
    `Somebody who is root on ${node.name} asks, too, and keeps the sealed answer. Up to here the TPM unseals it as often as he likes, for two minutes.`,
  );
  narrator.say(
    'Now that the disk is open, `assay-agent cap` ends the right of this boot to keys: it extends PCR 15 of the TPM.',
  );
  expected.that((await disk.cap()) === 0, `\`assay-agent cap\` to end with 0`);
  const after = await unseals();
  expected.that(
    after === 'TPM_RC_POLICY_FAIL',
    `the TPM to refuse after the cap; it says: ${after ?? 'the secret'}`,
  );
  if (after !== null)
    narrator.say(`The TPM no longer unseals the kept answer (${after}): only another boot resets PCR 15.`);
  narrator.say('The same boot asks the server again.');
  await refused(told, uuid, 20, 'lease_consumed');
  await node.startAgent();
  await expected.rebooted(node);
  await expected.state(node, 'trusted');
}

async function changeKernel(told: DiskTale, uuid: string): Promise<void> {
  const { cluster, narrator, expected, node, type } = told;
  narrator.say(
    `${node.name} loses power and boots again with another kernel. It asks for ${inVain} seconds here, on a real machine for five minutes; then systemd asks a person for the recovery passphrase.`,
  );
  await node.boot(tamper(node.log, 'kernel'));
  await refused(told, uuid, inVain, 'key_withheld');
  await node.startAgent();
  await expected.state(node, 'untrusted', 'kernel_unknown');
  const why = await cluster.operator.why(node.name);
  narrator.typed(`assay why ${node.name}`, why);
  expected.that(why.includes('kernel_unknown'), `\`assay why\` to say kernel_unknown; it says: ${why}`);
  const list = await type('audit', 'list', '--node', node.name, '--action', 'key.refuse');
  for (const code of ['lease_consumed', 'key_withheld'])
    expected.that(list.includes(code), `the audit log to say ${code}; it says: ${list}`);
}

async function recover(
  { cluster, narrator, expected, custody, disk }: DiskTale,
  files: EscrowFiles,
): Promise<void> {
  narrator.say(
    'The server is stopped. Whoever has the recovery identity needs none: it decrypts the passphrase.',
  );
  await cluster.server.close();
  const passphrase = await decrypted(files.passphrase, custody);
  const opens = await disk.opens(passphrase);
  passphrase.fill(0);
  expected.that(opens, 'the recovery passphrase to open the disk');
  if (opens) narrator.say('The recovery passphrase opens the disk.');
}

/** The node asks, and must get nothing. */
export async function refused(
  { narrator, expected, disk, node }: DiskTale,
  uuid: string,
  timeout: number,
  code: string,
): Promise<void> {
  await using program = disk.unlock(uuid, { timeout });
  const key = await program.read();
  const { said } = await program.ended;
  narrator.typed('assay-agent unlock', consoleOf(said));
  expected.that(
    key.length === 0 && said.includes(code),
    `${node.name} to get no key, for ${code}; it got ${key.length} bytes, and said: ${said}`,
  );
  key.fill(0);
}

/** The lines for a person at the machine, without those of what stands for systemd. */
function consoleOf(said: string): string {
  return said
    .split('\n')
    .filter((line) => line.startsWith('assay-'))
    .join('\n');
}

/** The answer of the server to this boot, as an attacker records it: what it holds is sealed to the TPM. */
async function sealedAnswer({ node, disk: { config } }: DiskTale, volume: string): Promise<KeyRelease> {
  const { signal } = new AbortController();
  const [server] = config.servers;
  if (server === undefined) throw new Error('no server is named');
  await using tpm = await openTpm({ tcti: node.machine.tpm.tcti });
  const identity = await readIdentity(tpm);
  const logger = createLogger('silent', null);
  const parts = { config, volume, tpm, identity, state: noState, logger, signal };
  await using conversation = await LeaseConversation.open(server, parts);
  const answer = await conversation.answer;
  if (answer.is === 'refused') throw new Error(`the server gives no key: ${answer.code}`);
  answer.secret.fill(0);
  return answer.release;
}

/** Null if the TPM unseals it, else what it says. */
async function unsealed(tpm: Tpm, release: KeyRelease): Promise<string | null> {
  const { importPublic: publicArea, importDuplicate: duplicate, importSeed: seed } = release;
  try {
    (await tpm.unsealDuplicate({ publicArea, duplicate, seed }, release)).fill(0);
    return null;
  } catch (error) {
    if (error instanceof ToolError) return error.responseName ?? error.message;
    throw error;
  }
}

async function decrypted(file: string, { identity }: KeyCustody): Promise<Buffer> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  return Buffer.from(await decrypter.decrypt(armor.decode(await readFile(file, 'utf8'))));
}

async function firstBytes(path: string, length: number): Promise<Buffer> {
  await using file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, 0);
  return buffer;
}
