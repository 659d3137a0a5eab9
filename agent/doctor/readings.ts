import { type Check, finding, okay } from '../../attest-server/wire/checks.ts';
import { diskPart } from '../../attest-server/wire/disk.ts';
import { jsonOrNothing } from '../../attest-server/wire/parse-json.ts';
import { bootLogPath } from '../collectors/boot-log.ts';
import { type FactsCollector, type PartCollector, Unavailable } from '../collectors/collector.ts';
import { imaLogPath } from '../collectors/ima-log.ts';
import { collectors } from '../collectors/list.ts';
import { userSpaceLogPath } from '../collectors/user-space-log.ts';
import type { AgentConfig } from '../config.ts';

const within = 20_000;

/** Reads the node as the agent does, by its collectors: all but the inventory, which an agent takes between its answers. */
export async function checkReadings(
  { netfilter, sysroot }: Pick<AgentConfig, 'netfilter' | 'sysroot'>,
  isInPod: boolean,
  signal: AbortSignal,
): Promise<readonly Check[]> {
  const checks: Check[] = [];
  for (const collector of collectors(netfilter))
    if (collector.supplement === undefined && collector.name !== 'inventory')
      checks.push(...(await check(collector, sysroot, isInPod, signal)));
  return checks;
}

async function check(
  collector: PartCollector | FactsCollector,
  sysroot: string,
  isInPod: boolean,
  signal: AbortSignal,
): Promise<readonly Check[]> {
  const name = shown[collector.name] ?? collector.name;
  const next = nextSteps[collector.name] ?? 'journalctl -u assay-agent -n 20';
  try {
    const found = await collector.read(sysroot, AbortSignal.any([signal, AbortSignal.timeout(within)]));
    if (found instanceof Unavailable) return [finding(name, 'failed', found.cause, next)];
    if (found === null) {
      if (isInPod && collector.name === 'userSpace')
        return [
          finding(name, 'not looked at', 'it is for root alone, and the chart does not mount it', next),
        ];
      const missing = collector.part === null ? undefined : collector.missing;
      const text = missing?.text ?? 'this machine has none';
      // Not every system measures its user space.
      return [collector.name === 'userSpace' ? okay(name, text) : finding(name, 'warning', text, next)];
    }
    if (!Buffer.isBuffer(found)) return [okay(name, 'read')];
    return [okay(name, `${found.length} bytes`), ...(collector.part === 'disk' ? checkInspect(found) : [])];
  } catch (error) {
    return [finding(name, 'failed', error instanceof Error ? error.message : String(error), next)];
  }
}

/** The part of the disks says what only root could read for the agent. */
function checkInspect(part: Buffer): readonly Check[] {
  const inspected = diskPart.safeParse(jsonOrNothing(part.toString('utf8'))).data?.inspected ?? null;
  if (inspected === null) return [finding('inspect', 'not looked at', 'no part of the disks says', inspect)];
  if ('cause' in inspected) return [finding('inspect', 'warning', inspected.cause, inspect)];
  return [okay('inspect', `assay-agent inspect wrote it on ${inspected.at.slice(0, 10)}`)];
}

const inspect = 'systemctl start assay-inspect';

const shown: Readonly<Record<string, string>> = {
  boot: 'firmware log',
  ima: 'IMA list',
  running: 'services',
  userSpace: 'systemd log',
};

const nextSteps: Readonly<Record<string, string>> = {
  boot: `ls -l /${bootLogPath}`,
  ima: `ls -l /${imaLogPath}`,
  userSpace: `ls -l /${userSpaceLogPath}`,
  disk: 'systemctl status assay-inspect',
  firewall: 'systemctl status assay-netfilter',
};
