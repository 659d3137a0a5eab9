import type { Figures } from '../telemetry/figures.ts';
import type { AgentListener } from './listener.ts';
import type { ChannelPorts } from './ports.ts';

/** An agent names its own version: no more series than a fleet has in an update. */
const maxVersions = 16;

/** Who is connected. */
export function channelReport(figures: Figures): Pick<ChannelPorts<unknown>, 'connections'> {
  const known = new Set<string>();
  const labelOf = (version: string): string => {
    if (!/^\d{1,4}\.\d{1,4}\.\d{1,4}$/.test(version)) return 'other';
    if (!known.has(version) && known.size >= maxVersions) return 'other';
    known.add(version);
    return version;
  };
  const agents = figures.gauge('agents', 'Connected agents by version', ['version']);
  const gatesWaiting = figures.gauge(
    'gates_waiting',
    'Gates that are connected, have proven their TPM, and hold kubelet back',
  );
  return {
    connections(versions, gates) {
      gatesWaiting.set(gates);
      agents.reset();
      for (const [version, count] of versions) agents.inc({ version: labelOf(version) }, count);
    },
  };
}

export function channelFigures(figures: Figures, agents: Pick<AgentListener, 'openAnswerBytes'>): void {
  figures.sampled(
    'open_answer_bytes',
    'Bytes of proven agents, of answers that are open or being judged',
    () => agents.openAnswerBytes,
  );
}
