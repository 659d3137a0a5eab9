import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from './child.mjs';
import { asRoot, elevate } from './debian.mjs';

/** Which programs of which Debian package. Prometheus scrapes a server of the tests, Alertmanager tells a receiver of its alerts. */
const programs = {
  prometheus: ['prometheus'],
  'prometheus-alertmanager': ['prometheus-alertmanager', 'amtool'],
};

/**
 * Unpacks Prometheus and Alertmanager into node_modules/.cache, where they are not there yet. Installed, they would be services
 * of this machine that listen from then on.
 */
export async function unpackPrometheus(root) {
  const there = join(root, 'node_modules', '.cache', 'prometheus');
  const wanted = Object.values(programs).flat();
  if (wanted.every((program) => existsSync(join(there, program)))) return;
  process.stderr.write('set-up: unpacking Prometheus and Alertmanager, which tests of the alerts start\n');
  mkdirSync(join(root, 'node_modules', '.cache'), { recursive: true });
  const part = mkdtempSync(`${there}-`);
  try {
    await download(Object.keys(programs), part);
    for (const file of readdirSync(part))
      await runToEnd(['dpkg-deb', '-x', join(part, file), join(part, 'all')]);
    mkdirSync(join(part, 'ready'));
    for (const program of wanted)
      renameSync(join(part, 'all', 'usr', 'bin', program), join(part, 'ready', program));
    cpSync(join(part, 'all', templates.installed), join(part, 'ready', templates.unpacked), {
      recursive: true,
    });
    moveTemplates(join(part, 'ready', 'prometheus-alertmanager'));
    rmSync(there, { recursive: true, force: true });
    renameSync(join(part, 'ready'), there);
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
}

/** Nobody's rights are needed, where the lists of packages are there and of today. */
async function download(packages, into) {
  const command = ['apt-get', '-qq', '-o', 'APT::Sandbox::User=', 'download', ...packages];
  const get = (quiet) => runToEnd(command, { cwd: into, quiet });
  try {
    await get(true);
  } catch {
    const elevation = await elevate();
    if (elevation !== null) await runToEnd([...elevation, 'apt-get', 'update', '-qq']);
    await get(false).catch((cause) => {
      throw new Error(
        `${packages.join(' and ')} could not be fetched from Debian's archive; run this once, then try again:
  ${asRoot('apt-get update')}`,
        { cause },
      );
    });
  }
}

/** Where Alertmanager's program has its templates; both paths are of one length. The second is below the folder that it runs in. */
const templates = {
  installed: '/usr/share/prometheus/alertmanager',
  unpacked: './././././././././././alertmanager',
};

/** Debian's program has no setting for this path: it is replaced where the program holds it. */
function moveTemplates(program) {
  const bytes = readFileSync(program);
  let at = bytes.indexOf(templates.installed);
  if (at === -1) throw new Error(`${program} has its templates elsewhere: moveTemplates is to be mended`);
  for (; at !== -1; at = bytes.indexOf(templates.installed, at)) bytes.write(templates.unpacked, at);
  writeFileSync(program, bytes);
}
