import { once } from 'node:events';
import type { Cluster } from './cluster.ts';
import type { MarkedNodes } from './marked-nodes.ts';
import type { Narrator } from './narrator.ts';
import { changed, changes } from './story.ts';
import { mayRead, readTypedLines } from './typed-lines.ts';

/** Keeps the cluster up until it is interrupted, and lets the reader change machines by typing. */
export async function stayUp(
  cluster: Cluster,
  marked: MarkedNodes | null,
  narrator: Narrator,
  signal: AbortSignal,
): Promise<void> {
  const { agentPort, apiPort, metricsPort } = cluster.server;
  for (const line of [
    `Agents connect to 127.0.0.1:${agentPort}, the API is https://127.0.0.1:${apiPort}, metrics are http://127.0.0.1:${metricsPort}/metrics`,
    'In another terminal, in this folder:  npx assay get nodes   npx assay why node-2   npx assay history node-1',
    ...(marked === null ? [] : linesOf(marked)),
    mayRead()
      ? 'Here, type:  tamper node-2 kernel|cmdline|secureboot|firewall|disk|runtime   restore node-2   off node-3     Ctrl-C ends it.'
      : 'It runs in the background and reads nothing there: fg brings it back, then type help. Ctrl-C there, or kill, ends it.',
  ])
    narrator.say(line);
  using _typed = readTypedLines((line) => {
    narrator.heard();
    obey(cluster, narrator, line.trim()).catch((error: unknown) =>
      narrator.say(`That failed: ${String(error)}`),
    );
  });
  // Nothing else may keep this process alive where there is no terminal.
  const alive = setInterval(() => undefined, 60_000);
  if (!signal.aborted) await once(signal, 'abort');
  clearInterval(alive);
}

function linesOf({ url, kubeconfigOfPeople }: MarkedNodes): readonly string[] {
  const kubectl = `kubectl --kubeconfig ${kubeconfigOfPeople}`;
  return [
    `The API server of Kubernetes is ${url}:  ${kubectl} describe nodes   ${kubectl} get nodeattestations -o yaml`,
    'A group gets one taint for drift in ten minutes; the next ones wait:  npx assay breaker list',
  ];
}

const usage = 'Type: tamper NODE kernel|cmdline|secureboot|firewall|disk|runtime, restore NODE, off NODE';

async function obey(cluster: Cluster, narrator: Narrator, line: string): Promise<void> {
  if (line === '') return;
  const [verb = '', name, what] = line.split(/\s+/);
  if (!['tamper', 'restore', 'off'].includes(verb)) return narrator.say(usage);
  const node = cluster.nodes.find((each) => each.name === name);
  if (node === undefined)
    return narrator.say(`The nodes are ${cluster.nodes.map((each) => each.name).join(', ')}.`);
  const change = changes.find((each) => each === what);
  if (verb === 'tamper' && change !== undefined && change !== 'none') {
    narrator.say(`${node.name} ${changed[change]}.`);
    await node.change(change);
  } else if (verb === 'restore') {
    narrator.say(`${node.name} loses power and boots as it was recorded.`);
    await node.reboot(node.log);
  } else if (verb === 'off') {
    narrator.say(`${node.name} loses power.`);
    await node.powerOff();
  } else narrator.say(usage);
}
