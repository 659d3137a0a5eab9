import type { NodeStanding } from '../http/node-view.ts';
import { knownLastWords } from '../wire/last-words.ts';
import { classOf } from '../wire/reasons.ts';
import { isSigned, nodeStates } from '../wire/verdict.ts';

/**
 * The series of each node, in Prometheus' text format: eight of a node, and one of a silent one. Written as text at once, since a scrape of thousands
 * of nodes holds up the server's one thread.
 * @param withoutAgent Nodes of the cluster that nobody has enrolled
 * @param flapping names of those whose rows are joined
 */
export function nodeSeries(
  nodes: readonly NodeStanding[],
  withoutAgent: readonly string[],
  flapping: readonly string[],
): string {
  let states = headOf('node_state', '1 for the state of the node, 0 for the others');
  let reasons = headOf('node_reason_info', 'Always 1; the first reason of a node that is not trusted');
  let trusted = headOf('node_trusted', '1 where the node is trusted now, else 0');
  let silences = headOf(
    'node_silence_info',
    'Always 1; a node in the state unknown, and how it came to be silent',
  );
  let successes = headOf('node_last_success_timestamp_seconds', 'When the node was last found trusted');
  for (const view of nodes) {
    const { name, state, reason, reasons: all, trustedAt, ourChange } = view;
    const node = `node="${escaped(name)}"`;
    for (const each of nodeStates)
      states += `assay_node_state{${node},state="${each}"} ${each === state ? 1 : 0}\n`;
    trusted += `assay_node_trusted{${node}} ${state === 'trusted' ? 1 : 0}\n`;
    if (trustedAt !== null)
      successes += `assay_node_last_success_timestamp_seconds{${node}} ${Date.parse(trustedAt) / 1000}\n`;
    if (state === 'unknown' && !isMissed(view))
      silences += `assay_node_silence_info{${node},${silenceLabels(view)}} 1\n`;
    if (state !== 'trusted' && reason !== null && !isMissed(view))
      reasons += `assay_node_reason_info{${node},code="${reason}",class="${classOf(reason)}",signed="${isSigned(all)}",ours="${state === 'untrusted' && ourChange !== null}"} 1\n`;
  }
  let missing = headOf('node_without_agent', 'Always 1; a Node of the cluster that has never proven itself');
  for (const name of withoutAgent) missing += `assay_node_without_agent{node="${escaped(name)}"} 1\n`;
  let flaps = headOf(
    'node_flapping',
    'Always 1; a node whose verdicts change so often that their rows are joined',
  );
  for (const name of flapping) flaps += `assay_node_flapping{node="${escaped(name)}"} 1\n`;
  return `${states}${reasons}${silences}${trusted}${successes}${missing}${flaps}`;
}

/** All of closed lists: an agent chooses one word of `says`, and nothing else. */
function silenceLabels({ connectedAt, disconnected, kubeletReady, claimed }: NodeStanding): string {
  const connection = disconnected?.by ?? (connectedAt === null ? 'none' : 'connected');
  const says = disconnected?.by === 'agent' ? knownLastWords(disconnected.reason ?? '') : null;
  return `connection="${connection}",says="${says ?? ''}",kubelet="${kubeletReady ?? ''}",claimed="${claimed}"`;
}

/** Silent, and its cluster does not expect it: it is not reported, and soon it is gone. */
export function isMissed({ state, missingSince }: NodeStanding): boolean {
  return state === 'unknown' && missingSince !== null;
}

function headOf(name: string, help: string): string {
  return `# HELP assay_${name} ${help}\n# TYPE assay_${name} gauge\n`;
}

/** Names of nodes need none of it; a store may hold what no server of this version let in. */
function escaped(name: string): string {
  return name.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`));
}
