import type { Command } from 'commander';
import type { BreakerListOptions, HoldOptions } from '../commands/breaker.ts';
import type { ExemptOptions } from '../commands/exempt.ts';
import type { TrustOptions } from '../commands/trust.ts';

import type { Consent } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import type { DirectOptions } from '../offline/unmark/command.ts';
import {
  consentOptions,
  type Formatted,
  nodeArgument,
  outputOption,
  type Reasoned,
  several,
  utcOption,
} from './option.ts';

/** The marks of nodes in their cluster, as a whole. */
export function addCluster(program: Command, context: CliContext): void {
  program
    .command('pause')
    .summary('add no mark to any node for now')
    .description(
      'add no mark to any node until assay resume; taints stay as they are, and the label still goes from nodes that lose their trust',
    )
    .requiredOption('--reason <text>', 'the reason, for the audit log')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: Formatted & Reasoned) =>
      (await import('../commands/pause.ts')).pauseMarking(context, options),
    );
  program
    .command('resume')
    .description('mark nodes again, after assay pause or assay unmark')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: Formatted) =>
      (await import('../commands/pause.ts')).resumeMarking(context, options),
    );
  const breaker = program
    .command('breaker')
    .description(
      'decide about taints that wait because many nodes fail the same way, or because we changed something',
    );
  breaker
    .command('list')
    .description(
      'list failures that nodes share, and the taints that wait; exits with 12 if taints wait for a person',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (options: BreakerListOptions) =>
      (await import('../commands/breaker.ts')).listBreaker(context, options),
    );
  const decided = (command: Command) =>
    command
      .requiredOption('--reason <text>', 'the reason, for the audit log')
      .option('--code <code>', 'only what fails with this code')
      .addOption(outputOption('table', 'json', 'yaml'));
  decided(
    breaker
      .command('hold [group...]')
      .description(
        'keep the waiting taints of these groups away (default: all), also after breaker.onExpiry',
      ),
  ).action(async (groups: readonly string[], options: HoldOptions) =>
    (await import('../commands/breaker.ts')).holdBreaker(context, groups, options),
  );
  decided(
    consentOptions(
      breaker
        .command('release [group...]')
        .description(
          'set the taints that wait in these groups (default: all); says how many, and asks first',
        ),
    ),
  ).action(async (groups: readonly string[], options: HoldOptions & Consent) =>
    (await import('../commands/breaker.ts')).releaseBreaker(context, groups, options),
  );
  program
    .command('exempt')
    .summary('let a node work although it is not trusted')
    .description(
      'let a node work for a time although it is not trusted: it gets no taint of ours, and never the label; its state stays, and no boot of it gets the key of a disk',
    )
    .addArgument(nodeArgument())
    .option('--reason <text>', 'the reason, for the audit log')
    .option('--until <moment>', 'when it ends: RFC 3339, at most 30 days from now')
    .option('--for <duration>', 'how long: 30m, 2h, at most 30d')
    .option('--end', 'end it now')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (node: string, options: ExemptOptions) =>
      (await import('../commands/exempt.ts')).exemptNode(context, node, options),
    );
  const trust = program
    .command('trust')
    .summary('make trust irrevocable in this cluster')
    .description('enable trust for good: no tool of ours can then make a node trusted without proof');
  consentOptions(
    trust
      .command('enable')
      .description(
        'one way: mode and require of these groups can no longer shrink; says whom it touches, and asks first',
      )
      .option('--group <group>', 'only this group of the policy (repeat it); default: all groups', several)
      .option(
        '--audit-key-copy <file>',
        'a copy of audit.key that is kept elsewhere; it signs here, and is not sent',
      ),
  )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: TrustOptions) =>
      (await import('../commands/trust.ts')).enableTrust(context, options),
    );
  trust
    .command('status')
    .description('show whether trust is enabled for good, and for which groups; exits with 11 if not')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: Formatted) => (await import('../commands/trust.ts')).showTrust(context, options));
  consentOptions(
    program
      .command('unmark')
      .summary('remove all marks from all nodes')
      .description(
        'remove every mark of Assay from every node, the label first, and pause; what an uninstall does; says from whom, and asks first',
      )
      .option('--all', 'every node of the cluster; must be given')
      .option('--cluster-uid <uid>', 'under the latch: the uid of the namespace kube-system of that cluster')
      .option('--reason <text>', 'the reason, for the audit log; needed under the latch')
      .option('--direct', 'if no server runs any longer: ask the API of the cluster')
      .option(
        '--kubeconfig <file>',
        'with --direct: which cluster, and as whom; default: as the pod this runs in',
      )
      .option(
        '--namespace <namespace>',
        'with --direct: that of the server; default: that of the pod or context',
      )
      .option(
        '--taint-key <key>',
        'with --direct: another key of taints that the server was set to',
        several,
      ),
  )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ direct = false, ...options }: DirectOptions & { readonly direct?: boolean }) =>
      direct
        ? (await import('../offline/unmark/command.ts')).unmarkDirectly(context, options)
        : (await import('../commands/unmark.ts')).unmarkCluster(context, options),
    );
}
