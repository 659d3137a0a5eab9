import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Check, checksText, finding, hasFailed } from '../../../wire/checks.ts';
import type { CliContext } from '../../context.ts';
import { exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { checkServer } from './server.ts';

export interface DoctorOptions {
  readonly config?: string;
  readonly output: Format;
}

const usualConfig = '/etc/assay/server.yaml';

/** `doctor`: the installation where it is on this machine, and the server as this machine sees it. */
export async function runDoctor(
  context: CliContext,
  { config, output: format }: DoctorOptions,
): Promise<void> {
  const { io, exitWith } = context;
  const path = config === undefined ? usualConfig : resolve(io.cwd, config);
  const isHere = config !== undefined || existsSync(path);
  const found: readonly Check[] = [
    ...(isHere ? await (await import('./installation.ts')).checkInstallation(path, io.env) : [elsewhere]),
    ...(await checkServer(context)),
  ];
  // A kubelet gives it to each container; the configuration beside it makes this one the server's.
  const isInPod = isHere && io.env.KUBERNETES_SERVICE_HOST !== undefined;
  const checks = isInPod ? (await import('./in-pod.ts')).inPod(found) : found;
  await print(io, format, { checks }, () => checksText(checks));
  exitWith(hasFailed(checks) ? exit.error : exit.ok);
}

const elsewhere = finding(
  'installation',
  'not looked at',
  `${usualConfig} is not on this machine: also run this on the server's machine`,
  `assay doctor --config ${usualConfig}`,
);
