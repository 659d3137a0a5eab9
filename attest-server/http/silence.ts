import type { NodeView, ReasonView } from '../api/node-api.ts';
import { type KubeletStatus, overdueText, silenceText } from '../formats/silence.ts';
import type { Advice } from '../wire/advice.ts';
import { rfc3339 } from './node-view.ts';
import type { ApiPorts } from './ports.ts';

type ConnectionPorts = Pick<ApiPorts, 'connected' | 'ended' | 'kubeletReady'>;

/** The connection of a node's agent, or how the latest one ended, and the cluster's word on its kubelet. */
export function connectionView(
  node: string,
  { connected, ended, kubeletReady }: ConnectionPorts,
): Pick<NodeView, 'connectedAt' | 'disconnected' | 'heardAt' | 'kubeletReady'> {
  const [standing, end] = [connected(node), ended(node)];
  return {
    connectedAt: rfc3339(standing?.since ?? null),
    disconnected: end && {
      at: new Date(end.at).toISOString(),
      by: end.by,
      status: end.status,
      reason: end.reason,
    },
    heardAt: rfc3339((standing ?? end)?.heardAt ?? null),
    kubeletReady: kubeletReady(node),
  };
}

/** The view of a silent node with how that came in its reason, and what to do first where the cause is. */
export function withSilence(
  view: NodeView,
  { connected, ended, server, now }: ConnectionPorts & Pick<ApiPorts, 'server' | 'now'>,
): NodeView {
  const { name, kubeletReady } = view;
  const latest = connected(name) ?? ended(name);
  const explained = (reason: ReasonView): ReasonView => {
    if (reason.code !== 'evidence_overdue') return reason;
    const how =
      latest === null ? sinceStart(reason.text, server.startedAt) : overdueText(silenceText(latest));
    const text = kubeletReady === null ? how : `${how} ${kubeletTexts[kubeletReady]}`;
    return { ...reason, text, next: nextStep(view, now()) };
  };
  return { ...view, reasons: view.reasons.map(explained) };
}

/** Ends of connections are in memory alone: only a text that was stored before the start may know of this one. */
function sinceStart(stored: string, startedAt: number): string {
  const before = stored === overdueText(null) ? ', so it is not known how its connection ended' : '';
  return `${stored} This server started at ${new Date(startedAt).toISOString()}, and the node has not connected since${before}.`;
}

const kubeletTexts: Readonly<Record<KubeletStatus, string>> = {
  True: 'Its kubelet is Ready, as the cluster has it: then the machine runs.',
  False: 'Its kubelet says that it is not Ready: then the machine runs.',
  Unknown: 'Its kubelet is silent, too.',
};

/** Milliseconds in which something comes on a connection that works: an agent sends four pings a minute. */
const heardWithin = 45_000;

/** The next steps for a person: those to which the connection points are first. */
function nextStep(view: NodeView, now: number): Advice {
  const { disconnected, connectedAt, heardAt } = view;
  const [machine, pod, refusals] = [machineSteps(view), podSteps(view), refusalSteps(view)];
  const steps = () => {
    switch (disconnected?.by) {
      case 'agent':
        return [...saidSteps(disconnected.reason), ...pod, ...refusals];
      case 'server':
        return [...refusals, ...agentSteps, ...pod];
      case 'reset':
        return [...agentSteps, ...pod, ...machine];
      case 'timeout':
        return [...machine, ...agentSteps, ...pod];
      case undefined:
        if (connectedAt === null) return [...machine, ...agentSteps, ...brokerSteps, ...pod, ...refusals];
        return heardAt !== null && now - Date.parse(heardAt) < heardWithin
          ? [...brokerSteps, ...agentSteps, ...pod]
          : [...machine, ...agentSteps, ...pod];
    }
  };
  return steps().join('\n');
}

const agentSteps = [
  'On the node, see whether the agent runs, and what it says:',
  '  systemctl status assay-agent',
  '  journalctl -u assay-agent -n 20',
];

const brokerSteps = [
  'On the node, see whether the TPM broker runs, and what it says:',
  '  systemctl status assay-tpm-broker',
  '  journalctl -u assay-tpm-broker -n 20',
];

/** The node may lie, so the agent's log is always among them. */
function saidSteps(said: string | null): readonly string[] {
  if (said === 'tpm_broker') return [...brokerSteps, ...agentSteps];
  if (said === 'tpm')
    return [
      'On the node, see whether its TPM is there:',
      '  ls -l /dev/tpmrm0',
      ...brokerSteps,
      ...agentSteps,
    ];
  if (said === 'stopped')
    return [
      'If it should be running, start it. On the node:',
      '  systemctl start assay-agent',
      ...agentSteps,
    ];
  return agentSteps;
}

/** As far as it can be asked from elsewhere. */
function machineSteps({ name, address, kubeletReady }: NodeView): readonly string[] {
  return [
    'See whether its machine runs and is reached over the network; its console says so, too:',
    ...(kubeletReady === null ? [] : [`  kubectl describe node ${name}`]),
    ...(address === null ? [] : [`  ping -c 3 ${address}`]),
  ];
}

function podSteps({ name, kubeletReady }: NodeView): readonly string[] {
  if (kubeletReady === null) return [];
  return [
    'If the agent of the node is a pod, see whether it is ready:',
    `  kubectl --namespace assay-agents get pods --output wide --field-selector spec.nodeName=${name}`,
  ];
}

function refusalSteps({ name }: NodeView): readonly string[] {
  return [
    'See whether this server refused what the agent sent. The audit log has the codes:',
    `  assay audit list --node ${name} --since 1d`,
  ];
}
