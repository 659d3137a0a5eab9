import { z } from 'zod';
import type { Check } from '../../attest-server/wire/checks.ts';
import { jsonOrNothing } from '../../attest-server/wire/parse-json.ts';
import { readClusterToken } from '../cluster-token.ts';
import type { AgentConfig } from '../config.ts';

/** Claims of a projected token: the kubelet names the pod in it. */
const claims = z.object({
  'kubernetes.io': z.object({
    namespace: z.string().regex(/^[a-z0-9-]{1,63}$/),
    pod: z.object({ name: z.string().regex(/^[a-z0-9.-]{1,253}$/) }),
  }),
});

type PodConfig = Pick<AgentConfig, 'clusterTokenFile' | 'tpmBroker' | 'netfilter' | 'sysroot'>;

/**
 * The same checks, where the agent is a container of its DaemonSet: what a unit of systemd would be is a container of the
 * pod or a value of the chart, and what the host alone has is typed on the node itself.
 */
export async function inPod(checks: readonly Check[], config: PodConfig): Promise<readonly Check[]> {
  const logsOf = await containerLogs(config);
  return checks.map((check) => {
    if (check.next === null) return check;
    const next = podCommand(check.next, config, logsOf);
    if (next !== null) return { ...check, next };
    return { ...check, text: `${check.text}\nOn the node itself, not in the pod:` };
  });
}

/** Null: the command is one for the node itself. */
function podCommand(
  command: string,
  { tpmBroker, netfilter, sysroot }: PodConfig,
  logsOf: (container: string) => string,
): string | null {
  const [, unit] = /^(?:systemctl \w+|journalctl -u) assay-([a-z-]+)/.exec(command) ?? [];
  const isOfHost = (socket: string | null) => socket?.startsWith(`${sysroot}/`) ?? false;
  if (unit === 'agent') return logsOf('agent');
  if (unit === 'tpm-broker' && !isOfHost(tpmBroker)) return logsOf('tpm-broker');
  if (unit === 'netfilter' && netfilter === null)
    return 'helm upgrade assay manifests/chart --reset-then-reuse-values --set agent.netfilter.enabled=true';
  if (unit === 'netfilter' && !isOfHost(netfilter)) return logsOf('netfilter');
  if (command.startsWith('sudo assay-agent doctor'))
    return `kubectl get daemonsets ${ofAgents} --output yaml`;
  if (command.startsWith('openssl s_client')) return `kubectl get services,pods ${ofServer} --output wide`;
  return command.startsWith('assay ') ? command : null;
}

const everywhere = '--all-namespaces --selector app.kubernetes.io/name=assay,app.kubernetes.io/component';
const ofAgents = `${everywhere}=agent`;
const ofServer = `${everywhere}=server`;

/** Of this very pod, whose name its network has not: that is the one of the host. */
async function containerLogs({
  clusterTokenFile,
}: Pick<PodConfig, 'clusterTokenFile'>): Promise<(container: string) => string> {
  const token = clusterTokenFile === null ? '' : await readClusterToken(clusterTokenFile).catch(() => '');
  const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
  const said = claims.safeParse(jsonOrNothing(payload)).data?.['kubernetes.io'];
  return (container) =>
    said === undefined
      ? `kubectl get pods ${ofAgents} --output wide`
      : `kubectl --namespace ${said.namespace} logs ${said.pod.name} --container ${container} --tail 50`;
}
