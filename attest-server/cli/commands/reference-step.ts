import { referenceChanged, type SharedReferenceView } from '../../api/api.ts';
import { type ReferenceTrialView, referenceTrial } from '../../api/policy-api.ts';
import { statusView } from '../../api/server-api.ts';
import { type ReferenceAction, type ReferenceKind, reference } from '../../formats/reference.ts';
import { turnsUntrusted } from '../../formats/trust-loss.ts';
import { printable } from '../../wire/printable.ts';
import { type Client, Refusal } from '../client.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { exit } from '../exit.ts';
import { utc } from '../moment.ts';
import { worstFirst } from '../node-order.ts';
import { type Format, print } from '../output.ts';
import { counted, listed } from '../sentence.ts';
import { changesText, leasedNodes, nextBootText, readSimulation } from '../simulation.ts';
import { pathOf, stateSentence, unseenText } from './reference.ts';

export interface StepOptions extends Consent {
  readonly reason: string;
  /** For a revocation: the taints come at once. */
  readonly taint?: boolean;
  readonly output: Format;
}

/** `reference approve|retire|revoke|restore NAME`: a step of a reference's life; first it says whom that would change. */
export async function changeReference(
  { io, server, exitWith }: CliContext,
  action: ReferenceAction,
  name: string,
  options: StepOptions,
): Promise<void> {
  const { reason, output: format, dryRun = false, taint = false } = options;
  const ask = questions(io, options);
  const client = await server();
  if (dryRun) {
    const trial = await tryStep(client, name, action);
    const taints = await taintText(client, action, taint, trial);
    const nextBoots = nextBootText(trial.items, await leasedNodes(client));
    const answer = trialAnswer(action, name, trial);
    await print(io, format, answer, () => `${trialText(action, name, trial)}${nextBoots}${taints}`);
    exitWith(trial.items.some(turnsUntrusted) ? exit.untrusted : exit.ok);
    return;
  }
  io.err(await orWhyNot(() => whomItChanges(client, name, action, taint)));
  await ask(`${verbs[action]} reference ${printable(name)}${taint ? ', and taint these nodes' : ''}?`);
  const body = taint ? { reason, taint } : { reason };
  const changed = await client.post(`${pathOf(name)}/${action}`, body, referenceChanged);
  if (changed.state === 'active') io.err(unseenText(changed));
  await print(io, format, changed, () => stateSentence(changed));
}

const verbs = { approve: 'Approve', retire: 'Retire', revoke: 'Revoke', restore: 'Restore' } as const;

function tryStep(client: Client, name: string, action: ReferenceAction): Promise<ReferenceTrialView> {
  return readSimulation(client, `${pathOf(name)}/${action}/simulate`, {}, referenceTrial);
}

async function whomItChanges(
  client: Client,
  name: string,
  action: ReferenceAction,
  taint: boolean,
): Promise<string> {
  try {
    const trial = await tryStep(client, name, action);
    const nextBoots = nextBootText(trial.items, await leasedNodes(client));
    return `${trialText(action, name, trial)}${nextBoots}${await taintText(client, action, taint, trial)}`;
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 404) throw error;
    // Either there is none of that name, and this says so, or the server is of an earlier version.
    await client.get(pathOf(name), reference);
    return 'this server has an earlier version and cannot say which nodes that would change\n';
  }
}

function trialAnswer(action: ReferenceAction, name: string, trial: ReferenceTrialView): object {
  const { reference: held, to = null, sharedWith, items } = trial;
  return {
    reference: name,
    action,
    from: held?.state ?? null,
    to,
    nodes: items.length,
    like: items.filter(({ like }) => like === true).length,
    changed: items.filter(({ changed }) => changed).length,
    untrusted: items.filter(turnsUntrusted).length,
    sharedWith,
    items,
  };
}

/** Whom it would taint, and when; nothing where the server marks no nodes. */
async function taintText(
  client: Client,
  action: ReferenceAction,
  taint: boolean,
  { items }: ReferenceTrialView,
): Promise<string> {
  // A server of 0.3.0 does not say the mode.
  const turned = items.filter(
    (item) => turnsUntrusted(item) && (item.after?.mode ?? 'enforce') === 'enforce',
  );
  if (turned.length === 0 || action !== 'revoke') return '';
  if ((await client.get('/v1/status', statusView)).cluster === null) return '';
  const whom = `${counted(turned.length, 'node')} (${listed(turned.map(({ node }) => node))})`;
  return taint
    ? `${whom} would be tainted at once: no new pod starts there\n`
    : `${whom} would get no taint until a person releases it: assay breaker release (or --taint here)\n`;
}

/** The sum in one sentence, what else is affected, then each node that would change, and why. */
function trialText(action: ReferenceAction, name: string, trial: ReferenceTrialView): string {
  const { reference: held, to, sharedWith, items } = trial;
  const kind = held?.kind ?? 'boot';
  const changed = held?.changed ?? null;
  const before =
    action === 'restore' && to !== undefined
      ? [
          ...(changed?.action === 'revoke'
            ? [`${changed.by} revoked it on ${utc(changed.at)}: ${changed.reason}`]
            : []),
          `it would be ${to}${changed?.action === 'revoke' ? ' again' : ', since its earlier state is not known'}`,
        ]
      : [];
  const lines = [...before.map(printable), sumOf(kind, name, items), ...sharedText(kind, name, sharedWith)];
  return `${lines.map((line) => `${line}\n`).join('')}${changesText(items.filter((item) => item.changed))}`;
}

function sumOf(kind: ReferenceKind, name: string, items: ReferenceTrialView['items']): string {
  const changed = items.filter((item) => item.changed);
  const moved = changed.filter(({ before, after }) => before?.state !== after?.state);
  const same = changed.length - moved.length;
  const unjudged = items.filter(({ after }) => after === null).length;
  const parts = [
    likeText(kind, name, items),
    ...(changed.length === 0 ? ['no node would change'] : []),
    ...worstFirst.flatMap((state) => {
      const nodes = moved.filter(({ after }) => after?.state === state).map(({ node }) => node);
      return nodes.length === 0 ? [] : [`${nodes.length} would turn ${state}: ${listed(nodes)}`];
    }),
    ...(same > 0 ? [`${same} would stay as ${same === 1 ? 'it is' : 'they are'}, for other reasons`] : []),
    ...(unjudged > 0 ? [`${unjudged} cannot be judged`] : []),
  ];
  return parts.join('; ');
}

function likeText(kind: ReferenceKind, name: string, items: ReferenceTrialView['items']): string {
  if (items.length === 0) return 'the server has no nodes';
  const all = counted(items.length, 'node');
  // A server of an earlier version does not say it, nor one that has no aspect for this kind.
  if (items.some(({ like }) => like === undefined))
    return `${items.filter(({ changed }) => changed).length} of ${all} would change`;
  const alike = items.filter(({ like }) => like === true).length;
  const [boots, boot] = kind === 'boot' ? ['boots', 'boot'] : ['is', 'are'];
  const those = alike === 0 ? `none ${boots}` : alike === 1 ? `1 ${boots}` : `${alike} ${boot}`;
  return `of ${all}, ${those} like reference ${printable(name)}`;
}

function sharedText(
  kind: ReferenceKind,
  name: string,
  shared: readonly SharedReferenceView[],
): readonly string[] {
  if (kind === 'runtime')
    return shared
      .slice(0, mostShared)
      .map(
        ({ name: other, files = 0 }) =>
          `${counted(files, 'file')} of it ${files === 1 ? 'is' : 'are'} also in active reference ${printable(other)}: known while that is active`,
      );
  const whole = shared.filter((one) => one.whole).map((one) => one.name);
  if (kind !== 'boot')
    return whole.length === 0
      ? []
      : [
          `active ${whole.length === 1 ? 'reference' : 'references'} ${listed(whole)} ${whole.length === 1 ? 'says' : 'say'} the same as ${printable(name)}`,
        ];
  const [they, affirm, these] =
    whole.length === 1
      ? ['active reference', 'affirms', 'this one']
      : ['active references', 'affirm', 'these'];
  const parts = shared
    .filter((one) => !one.whole)
    .slice(0, mostShared)
    .map(
      (one) =>
        `active reference ${printable(one.name)} shares ${listed(one.stages)} with it: those parts stay good while ${printable(one.name)} is active`,
    );
  const all = `${they} ${listed(whole)} ${affirm} everything in ${printable(name)}: boots like ${these} are revoked too`;
  return whole.length === 0 ? parts : [all, ...parts];
}

const mostShared = 10;
