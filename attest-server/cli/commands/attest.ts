import { setTimeout as delay } from 'node:timers/promises';
import { attestAnswer } from '../../api/api.ts';
import type { NodeView } from '../../api/node-api.ts';
import { printable } from '../../wire/printable.ts';
import type { Client } from '../client.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit, exitOfState } from '../exit.ts';
import { ago, parseDuration } from '../moment.ts';
import { stateText } from '../node-table.ts';
import { type Format, print } from '../output.ts';
import { readNode } from '../read-nodes.ts';

export interface AttestOptions {
  readonly output: Format;
  /** False by `--no-wait`. */
  readonly wait?: boolean;
  readonly timeout: string;
}

/** `attest NODE`: asks it now, and exits by the state that it has then; 11 where no verdict came. */
export async function attestNode(
  { io, server, exitWith }: CliContext,
  name: string,
  { output: format, wait = true, timeout: longest }: AttestOptions,
): Promise<void> {
  const deadline = io.now() + parseDuration(longest, '--timeout') * 1000;
  const client = await server();
  const asked = await client.post(`/v1/nodes/${encodeURIComponent(name)}/attest`, {}, attestAnswer);
  if (!asked.connected)
    throw new CliError(
      `${asked.node} is not connected, so nothing could be asked${last(asked.verifiedAt, io.now())}`,
      `See whether its agent runs and reaches the server; assay why ${asked.node}`,
      exit.notTrusted,
    );
  if (!wait) {
    await print(io, format, asked, () => `${printable(asked.node)} was asked\n`);
    return;
  }
  const node = await nextVerdict(client, asked.node, asked.verifiedAt, deadline, io.now);
  if (node === null)
    throw new CliError(
      `${asked.node} was asked, but no verdict came within ${longest}`,
      `assay why ${asked.node} shows what is known; if the server refused the answer, its log says why.`,
      exit.notTrusted,
    );
  const { state, reason, verifiedAt } = node;
  await print(io, format, { name: node.name, state, reason, verifiedAt }, () => {
    const why = state === 'trusted' ? '' : `: ${reason ?? '-'}; assay why ${printable(node.name)}`;
    return `${printable(node.name)} is ${stateText(node)}${why}\n`;
  });
  exitWith(exitOfState(state));
}

const pollMs = 250;

/** The node once it has a verdict other than that of this moment; null if none came in time. */
async function nextVerdict(
  client: Client,
  name: string,
  before: string | null,
  deadline: number,
  now: () => number,
): Promise<NodeView | null> {
  for (;;) {
    const node = await readNode(client, name);
    if (node.verifiedAt !== null && node.verifiedAt !== before) return node;
    const left = deadline - now();
    if (left <= 0) return null;
    await delay(Math.min(pollMs, left));
  }
}

function last(verifiedAt: string | null, now: number): string {
  return verifiedAt === null ? '' : `; its latest verdict is ${ago(verifiedAt, now)} old`;
}
