import { type UnmarkTrialView, unmarkAnswer, unmarkTrial } from '../../api/cluster-api.ts';
import { Refusal } from '../client.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { type Format, print } from '../output.ts';
import { counted, listed } from '../sentence.ts';

export interface UnmarkOptions extends Consent {
  readonly all?: boolean;
  readonly clusterUid?: string;
  readonly reason?: string;
  readonly output: Format;
}

/** `unmark --all`: every mark of every node goes, the label first; first it says from how many, and asks. */
export async function unmarkCluster({ io, server }: CliContext, options: UnmarkOptions): Promise<void> {
  const { clusterUid = null, reason = null, output: format, dryRun = false } = options;
  checkNotDirect(options);
  checkAll(options);
  const ask = questions(io, options);
  const client = await server();
  const trial = () => client.get('/v1/cluster/unmark', unmarkTrial);
  if (dryRun) {
    const found = await trial();
    return print(io, format, found, () => trialText(found));
  }
  io.err(await orWhyNot(async () => trialText(await trial())));
  await ask('Pause, and remove all these marks?');
  const done = await client
    .post('/v1/cluster/unmark', { clusterUid, reason }, unmarkAnswer)
    .catch((error: unknown) => {
      throw error instanceof Refusal && error.code === 'latched' ? latched(error.message, error) : error;
    });
  await print(
    io,
    format,
    done,
    () =>
      `the marks of ${counted(done.nodes.length, 'node')} are removed; nothing is marked until: assay resume\n`,
  );
}

/** Options of `--direct` without it. @throws CliError */
function checkNotDirect(options: object): void {
  const [first] = ['kubeconfig', 'namespace', 'taintKey'].filter((name) => Object.hasOwn(options, name));
  if (first === undefined) return;
  const option = first === 'taintKey' ? 'taint-key' : first;
  throw new CliError(`--${option} goes with --direct`, 'Without it the server does the work.', exit.usage);
}

/** Requires `--all`, so that nobody means one node. @throws CliError */
export function checkAll({ all = false }: Pick<UnmarkOptions, 'all'>): void {
  if (all) return;
  throw new CliError(
    'unmark takes --all: it removes the marks of every node of the cluster',
    'For one node, let it work for a time:\n  assay exempt NODE --reason WHY --for 2h',
    exit.usage,
  );
}

/** Exit 12. */
export function latched(text: string, cause?: unknown): CliError {
  return new CliError(
    text,
    [
      'That ends with every node free and none trusted. The uid of the cluster is that of its namespace kube-system.',
      "  kubectl get namespace kube-system -o 'jsonpath={.metadata.uid}'",
      "  assay unmark --all --cluster-uid UID --reason 'the cluster is given up'",
    ].join('\n'),
    exit.held,
    cause,
  );
}

const mostNamed = 20;

export function trialText({ latched: isLatched, nodes }: UnmarkTrialView): string {
  const with_ = (what: 'labels' | 'taints' | 'conditions') =>
    nodes.filter((node) => node[what].length > 0).length;
  const names = listed(
    nodes.map(({ node }) => node),
    mostNamed,
  );
  const whom =
    nodes.length === 0 ? 'no node carries a mark' : `${counted(nodes.length, 'node')} carry marks: ${names}`;
  return [
    whom,
    `the label of ${with_('labels')}, taints of ${with_('taints')} and the condition of ${with_('conditions')} would go`,
    ...(isLatched ? ['trust is enabled for good: it takes --cluster-uid and --reason'] : []),
  ]
    .map((line) => `${line}\n`)
    .join('');
}
