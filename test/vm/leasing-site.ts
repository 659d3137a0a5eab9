import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import type { Volume } from '../../attest-server/keys/ports.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { asTyped, type KeyMachine, keyMachine, type OtherSystem } from './key-machine.ts';
import { sectionOf } from './typed-page.ts';

/** A server here, and a node that is a virtual machine; both are set up by what the pages have a person type. */
export interface LeasingSite extends AsyncDisposable {
  /** Where lines are typed that are not for the node: `/etc/assay` of the pages. */
  readonly dir: string;
  /** The folder of the npm package. */
  readonly programs: string;
  readonly world: TestServer;
  /** The node, which is enrolled and trusted. */
  readonly machine: KeyMachine;
  /** What a line of a page prints that a person types elsewhere than on the node. */
  typeHere(line: string, env?: Readonly<Record<string, string>>): Promise<string>;
  /** Sets up the units of keys on the node, and makes a volume for it: what `assay disk init` printed. */
  makeVolume(): Promise<MadeVolume>;
  /** Has the policy require the disk, and waits until it is affirmed. */
  requireDisk(): Promise<void>;
  volume(uuid: string): Promise<Volume | undefined>;
  /** The recovery passphrase of the volume, decrypted by the lines of the page. */
  passphrase(): Promise<string>;
}

export interface MadeVolume {
  readonly uuid: string;
  /** To type on the node: `assay-agent format`. */
  readonly format: string;
  /** A command of the shell that writes crypttab and fstab. */
  readonly lines: string;
  /** To type after it. */
  readonly enable: string;
}

export const node = 'worker-1';
export const server = '10.0.2.100:9000';

const repository = join(import.meta.dirname, '../..');
const waiting = z.object({ items: z.array(z.object({ ek: z.string() })) });
const network = `cat >/etc/systemd/network/10-server.network <<'END'
[Match]
Type=ether
[Network]
Address=10.0.2.15/24
END
systemctl enable --now systemd-networkd
`;
const setUpServer = sectionOf('disk-keys', 'Set up the server');
const setUpNode = sectionOf('disk-keys', 'Set up a node');
const recover = sectionOf('disk-keys', 'Recover a disk');

/** @param system of the node, and what is done there before it is enrolled */
export async function leasingSite(
  system?: OtherSystem & { readonly prepare: (machine: KeyMachine) => Promise<void> },
): Promise<LeasingSite> {
  const resources = new AsyncDisposableStack();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-lease-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const programs = join(dir, 'programs');
    await run(
      process.execPath,
      [join(repository, 'swtpm-fixtures/set-up/build.ts'), '--no-check', '--out', programs],
      { timeoutMs: 300_000, maxOutputBytes: 1 << 20 },
    );
    const world = resources.use(await preparedServer(dir));
    const machine = resources.use(await keyMachine(programs, world.server.agentPort, { system }));
    const typeHere: LeasingSite['typeHere'] = (line, env = world.env()) => typeIn(dir, line, env);
    await machine.guest.shell(network);
    await system?.prepare(machine);
    await enrol({ world, machine, typeHere });
    return {
      dir,
      programs,
      world,
      machine,
      typeHere,
      makeVolume: () => makeVolume(machine, typeHere),
      requireDisk: () => requireDisk(dir, world, typeHere),
      volume: async (uuid) => (await world.store.leases.volumes()).find((one) => one.uuid === uuid),
      passphrase: async () =>
        (await typeHere(recover.typed('you$')[0] ?? '')).trim().split('\n').at(-1) ?? '',
      [Symbol.asyncDispose]: () => resources.disposeAsync(),
    };
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
}

/** A line of docs/first-node.md by which a person vouches for a node. */
export function vouching(beginning: string): string {
  const lines = sectionOf('first-node', 'Vouch for it').typed('server#').join('\n').split('\n');
  return lines.find((line) => line.startsWith(beginning)) ?? assert.fail(beginning);
}

async function typeIn(dir: string, line: string, env: Readonly<Record<string, string>>): Promise<string> {
  const path = [join(dir, 'programs/bin'), dirname(process.execPath), process.env.PATH].join(':');
  const { stdout } = await run('sh', ['-ec', `cd ${dir}\n${line.replaceAll('/etc/assay/', `${dir}/`)}`], {
    timeoutMs: 600_000,
    maxOutputBytes: 1 << 20,
    env: { ...env, PATH: path },
  });
  return stdout.toString('utf8');
}

async function preparedServer(dir: string): Promise<TestServer> {
  const [settings = '', policy = ''] = setUpServer.yaml;
  // The server runs as whoever runs this test.
  const typed = [...setUpServer.typed('server#'), ...setUpServer.typed('you$')];
  // What is typed to a server that runs comes later.
  for (const line of typed.filter((each) => !each.startsWith('assay ')))
    await typeIn(dir, line.replace('chown assay:', 'chown $(id -un):'), {});
  const [recipient = ''] = /age1\w+/.exec(await readFile(join(dir, 'recovery.txt'), 'utf8')) ?? [];
  const file = join(dir, 'policy.yaml');
  await writeFile(
    file,
    `apiVersion: assay.dev/v1\nkind: Policy\n${policy.replace(/age1\w+/, recipient).replace('10.0.0.0/8', '127.0.0.0/8')}`,
  );
  const [, wrappingKey = ''] = /wrappingKeyFile: \/etc\/assay\/([\w-]+)/.exec(settings) ?? [];
  return startTestServer({
    policy: file,
    wrappingKeyFile: join(dir, wrappingKey),
    names: ['10.0.2.100', '127.0.0.1'],
    challengeEvery: 10,
  });
}

/** By docs/first-node.md, with the helpers of docs/privileges.md that disks need. */
async function enrol({
  world,
  machine,
  typeHere,
}: Pick<LeasingSite, 'world' | 'machine' | 'typeHere'>): Promise<void> {
  const token = await typeHere(`assay join-token create --node ${node}`);
  const [agent = ''] = sectionOf('first-node', 'The node').yaml;
  await machine.guest.shell(`umask 077
cat >/etc/assay/worker-1.token <<'END'
${token}END
umask 022
cat >/etc/assay/agent.yaml <<'END'
${agent.replace('attest.example.org:8443', server)}END
`);
  for (const [page, heading] of [
    ['first-node', 'The node'],
    ['privileges', 'Inspect'],
    ['privileges', 'The agent without rights'],
  ] as const)
    await machine.guest.shell(asTyped(sectionOf(page, heading).typed('node#')[0] ?? ''));
  const ek = await world.until(
    async () => waiting.parse(await world.call('GET', '/v1/enrolments')).items[0]?.ek,
    300_000,
  );
  await typeHere(`assay enrol approve ${node} --ek ${ek}`);
  // A slow machine may not have read all for its first answer: then there is nothing to capture yet.
  const capture = vouching('assay reference capture worker-1 ');
  await world.until(() => typeHere(capture).catch(() => null), 300_000);
  await typeHere(vouching('assay get nodes worker-1 --wait trusted'));
}

async function makeVolume({ guest }: KeyMachine, typeHere: LeasingSite['typeHere']): Promise<MadeVolume> {
  const [install = '', units = '', ofPage = '', enabledByPage = ''] = setUpNode.typed('node#');
  await guest.shell(asTyped(install));
  const [unlock = ''] = setUpNode.yaml;
  await guest.shell(`cat >/etc/assay/unlock.yaml <<'END'
${unlock.replace('10.0.0.2:8443', server)}timeout: 60
END
`);
  await guest.shell(asTyped(units));
  const [init = ''] = setUpNode.typed('you$');
  const out = await typeHere(init);
  const [, uuid = ''] = /LUKS UUID (\S+)/.exec(out) ?? [];
  const [format = '', crypttab = '', fstab = '', ...enable] = [...out.matchAll(/^ {2}(.*)$/gm)].map(
    ([, line = '']) => line,
  );
  // What it prints is what the page has.
  assert.equal(format, ofPage.replace('UUID', uuid));
  assert.equal(enable.join('\n'), enabledByPage.replace('UUID', uuid));
  const lines = `echo '${crypttab}' >/etc/crypttab\necho '${fstab}' >>/etc/fstab`;
  return { uuid, format, lines, enable: asTyped(enable.join('\n')) };
}

async function requireDisk(dir: string, world: TestServer, typeHere: LeasingSite['typeHere']): Promise<void> {
  const [, required = ''] = setUpNode.yaml;
  const [first = ''] = required.split(':');
  const before = await readFile(join(dir, 'policy.yaml'), 'utf8');
  await writeFile(join(dir, 'policy.yaml'), before.replace(new RegExp(`^${first}:.*\\n`, 'm'), required));
  await world.server.reload();
  await typeHere(setUpNode.typed('server#')[0]?.split('\n').at(-1) ?? '');
  await diskAffirmed(world);
}

export async function diskAffirmed(world: TestServer): Promise<void> {
  await world.until(
    async () => (await world.status(node))?.verdict?.aspects.disk?.status === 'affirming',
    900_000,
  );
}
