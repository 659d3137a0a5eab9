import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Check } from '../../../wire/checks.ts';

/**
 * The same checks in the pod of the server, which has neither a shell nor systemd: commands are those of whoever typed
 * `kubectl exec`, from where that was typed.
 */
export function inPod(checks: readonly Check[]): readonly Check[] {
  const here = { namespace: namespaceOfPod(), pod: hostname() };
  return checks.map((check) => ({
    ...check,
    next:
      check.next
        ?.split('\n')
        .map((line) => podCommand(line, here))
        .join('\n') ?? null,
  }));
}

function podCommand(command: string, { namespace, pod }: { namespace: string; pod: string }): string {
  const kubectl = `kubectl --namespace ${namespace}`;
  if (/^assay(-server)? /.test(command)) return `${kubectl} exec ${pod} -- ${command}`;
  const [program = ''] = command.split(' ');
  switch (program) {
    case 'journalctl':
      return `${kubectl} logs ${pod} --tail 50`;
    case 'df':
      return `${kubectl} get persistentvolumeclaims`;
    // A server closes its folder when it starts.
    case 'chmod':
      return `${kubectl} delete pod ${pod}`;
    case 'systemctl':
    case 'ls':
    case 'timedatectl':
      return `${kubectl} get pod ${pod} --output wide`;
    default:
      return command;
  }
}

const mounted = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

function namespaceOfPod(): string {
  try {
    return readFileSync(mounted, 'utf8').trim();
  } catch {
    // Its account is not mounted where it marks no cluster.
    return 'assay';
  }
}
