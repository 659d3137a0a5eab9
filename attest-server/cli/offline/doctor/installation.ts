import { lstat, statfs } from 'node:fs/promises';
import { connect } from 'node:net';
import { checkConfiguration, checkedText } from '../../../commands/check.ts';
import { readSettings } from '../../../read-settings.ts';
import { shellWord } from '../../../wire/advice.ts';
import { type Check, finding, okay } from '../../../wire/checks.ts';
import { leastFree } from './server.ts';

/** The findings of `assay-server check --here`, and whether folder and ports are as a server that runs has them. */
export async function checkInstallation(
  path: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<readonly Check[]> {
  const settings = await readSettings({ config: path }, environment).catch((error: unknown) =>
    error instanceof Error ? error : new Error(String(error)),
  );
  const checked = await checkConfiguration(settings, true);
  const { valid, warnings, keys, backups } = checked;
  const text = checkedText(checked).trimEnd();
  const command = `assay-server check --here --config ${shellWord(path)}`;
  const configuration =
    valid && warnings.length === 0
      ? okay('configuration', text)
      : finding('configuration', valid ? 'warning' : 'failed', text, command);
  if (settings instanceof Error) return [configuration];
  const { stateDir, agentPort, apiPort, metricsPort } = settings.values;
  const ports = { agentPort, apiPort, metricsPort };
  return [
    configuration,
    ...keys.map(({ name, fits, text: found }) =>
      fits === null
        ? finding(`${name} key`, 'not looked at', `not compared with the database: ${found}`, command)
        : fits
          ? okay(`${name} key`, found)
          : finding(`${name} key`, 'failed', found, command),
    ),
    ...(backups === null || backups.fits === false
      ? []
      : [
          backups.fits === null
            ? finding('backup folder', 'not looked at', backups.text, command)
            : okay('backup folder', `${backups.directory}: ${backups.text}`),
        ]),
    ...(await checkFolder(stateDir)),
    ...(await Promise.all(Object.entries(ports).map(([name, port]) => checkPort(name, port)))),
  ];
}

async function checkFolder(path: string): Promise<readonly Check[]> {
  try {
    const { mode } = await lstat(path);
    const { bavail, blocks, bsize } = await statfs(path);
    const free = `${Math.round((bavail * bsize) / 1024 ** 2)} MiB free`;
    return [
      (mode & 0o077) === 0
        ? okay('state folder', path)
        : finding('state folder', 'failed', `others may enter ${path}`, `chmod 700 ${shellWord(path)}`),
      bavail / blocks >= leastFree
        ? okay('space here', free)
        : finding('space here', 'warning', free, `df -h ${shellWord(path)}`),
    ];
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return [finding('state folder', 'not looked at', text, `ls -ld ${shellWord(path)}`)];
  }
}

/** Of the loopback: a server that listens on one other address alone is not seen. */
function checkPort(name: string, port: number): Promise<Check> {
  return new Promise((answer) => {
    const socket = connect({ port, host: 'localhost', timeout: 2_000 });
    const end = (check: Check) => {
      socket.destroy();
      answer(check);
    };
    const closed = (why: string) =>
      end(
        finding(
          name,
          'failed',
          `nothing listens on ${port} of this machine (${why})`,
          'systemctl status assay-server',
        ),
      );
    socket.once('connect', () => end(okay(name, `${port} is open`)));
    socket.once('timeout', () => closed('no answer'));
    socket.once('error', (error) => closed('code' in error ? String(error.code) : error.message));
  });
}
