import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'node-tpm2/run';
import { headerBytes, madePe } from '../made-pe.ts';
import type { Programs } from '../programs.ts';
import { type InstalledBoot, installedBoot } from '../updated-boot.ts';
import type { Cluster } from './cluster.ts';
import { patience } from './expectations.ts';
import { type DiskTale, format, type KeyCustody, refused, trust, unlocked, withDisk } from './key-story.ts';
import type { Narrator } from './narrator.ts';
import { fleetRecording } from './update-story.ts';

const [from, to] = ['5.14.0-183.el9.x86_64', '5.14.0-570.el9.x86_64'];
const reference = 'kernel-570';
/** Seconds for which a node asks in vain. */
const inVain = 6;

/** The boot of a machine whose loaders and kernel of this version lie on its disk. */
function bootOf(log: Buffer, version: string): InstalledBoot {
  const content = Buffer.from(`Linux version ${version}\n`);
  const kernel = madePe(true, [{ at: headerBytes, content }], Buffer.alloc(0));
  return installedBoot(log, { kernel, initrd: Buffer.from(`the initrd of ${version}\n`), from, to: version });
}

/** As the machine of the story boots first. */
export const forecastMachine = (log: Buffer): Buffer => bootOf(log, from).log;

/**
 * Tells how a kernel that nobody staged is foretold, refused and approved, and checks each step: the forecast must come before
 * the reboot, and change nothing.
 * @returns whether every expectation held
 */
export async function tellForecastStory(
  cluster: Cluster,
  custody: KeyCustody,
  narrator: Narrator,
  programs: Programs,
): Promise<boolean> {
  return withDisk(cluster, custody, narrator, programs, async (tale) => {
    const [old, next] = [from, to].map((version) => bootOf(tale.node.log, version));
    if (old === undefined || next === undefined) throw new Error('the story needs two boots');
    const install = (files: InstalledBoot['files']) => installOn(tale, programs, files);
    await trust(tale);
    const uuid = await format(tale);
    await foretell(tale, () => install(old.files), 'key');
    narrator.say(`An update installs ${to}. Nobody has staged it, and nothing runs it yet.`);
    await foretell(tale, () => install(next.files), 'NO KEY');
    await tellWhy(tale);
    await reboot(tale, next, uuid);
    await approve(tale, next, uuid);
    return tale.expected.sum({ untrusted: 0, unknown: 0 });
  });
}

/** Puts files onto the disk, and has them looked at as the unit does, each hour or when it is started. */
async function installOn(
  { narrator, node }: Pick<DiskTale, 'narrator' | 'node'>,
  programs: Programs,
  files: InstalledBoot['files'],
): Promise<void> {
  const { sysroot } = node.machine;
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(sysroot, path)), { recursive: true });
    await writeFile(join(sysroot, path), content);
  }
  const args = [programs['assay-agent'], 'inspect', 'boot', '--sysroot', sysroot];
  await run(process.execPath, args, { timeoutMs: 30_000, maxOutputBytes: 1 << 20 });
  narrator.typed('systemctl start assay-inspect', '');
}

async function foretell(tale: DiskTale, install: () => Promise<void>, answer: string): Promise<void> {
  const { cluster, expected, narrator, node, type } = tale;
  await install();
  const deadline = AbortSignal.timeout(patience);
  const says = (list: string) => list.includes(` ${answer}\n`);
  while (!deadline.aborted && !says(await cluster.operator.assay('disk', 'list'))) await sleep(200);
  const list = await type('disk', 'list');
  expected.that(says(list), `\`assay disk list\` to say ${answer} of the next boot; it says: ${list}`);
  await expected.state(node, 'trusted');
  if (answer === 'NO KEY')
    narrator.say(
      `${node.name} is as trusted as before: the forecast is its own word, and nothing rests on it.`,
    );
}

async function tellWhy({ cluster, narrator, expected, node }: DiskTale): Promise<void> {
  const why = await cluster.operator.why(node.name);
  narrator.typed(`assay why ${node.name}`, why);
  for (const words of [`vmlinuz-${to}`, 'It lies there since', 'assay reference compute'])
    expected.that(why.includes(words), `\`assay why\` to say ${words}; it says: ${why}`);
}

async function reboot(tale: DiskTale, next: InstalledBoot, uuid: string): Promise<void> {
  const { narrator, expected, node } = tale;
  narrator.say(`${node.name} is rebooted all the same. It asks for its key for ${inVain} seconds here.`);
  await node.boot(next.log);
  await refused(tale, uuid, inVain, 'key_withheld');
  await node.startAgent();
  await expected.state(node, 'untrusted', 'kernel_unknown');
}

async function approve(tale: DiskTale, next: InstalledBoot, uuid: string): Promise<void> {
  const { cluster, narrator, expected, node, disk, type } = tale;
  narrator.say(
    'The operator takes kernel and initrd from the package, computes their digests, and approves them.',
  );
  const at = (name: string) => join(cluster.dir, name);
  const [kernel, initrd] = Object.entries(next.files).map(([path, content]) => ({
    path: at(path.slice(path.lastIndexOf('/') + 1)),
    content,
  }));
  if (kernel === undefined || initrd === undefined)
    throw new Error('the story needs a kernel and its initrd');
  for (const file of [kernel, initrd]) await writeFile(file.path, file.content);
  const file = at(`${reference}.json`);
  const given = ['--kernel', kernel.path, '--initrd', initrd.path];
  await type('reference', 'compute', '--name', reference, '--group', fleetRecording, ...given, '-f', file);
  await type('reference', 'import', file);
  await type('reference', 'approve', reference, '--reason', 'update', '--yes');
  await expected.state(node, 'trusted');
  if (await unlocked({ narrator, expected, node, disk }, uuid))
    narrator.say('The same boot asks again, and gets the key of its disk.');
}
