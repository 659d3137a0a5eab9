import type { ReferenceView } from '../../api/api.ts';
import { type CaptureTrialView, captureTrial } from '../../api/policy-api.ts';
import { printable } from '../../wire/printable.ts';
import type { Reason } from '../../wire/verdict.ts';
import { type Client, Refusal } from '../client.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import { CliError, exit } from '../exit.ts';
import type { CliIo } from '../io.ts';
import { field, readingOf, type TextFormat, withShortDigests } from '../readable.ts';
import { counted, listed } from '../sentence.ts';
import { readSimulation } from '../simulation.ts';
import { table } from '../table.ts';
import { paragraph } from './why.ts';

/** The reference that a capture would make, and the nodes of which that would demand a proof that they do not give. */
export function tryCapture(client: Client, asked: object): Promise<CaptureTrialView> {
  return readSimulation(client, '/v1/references/capture/simulate', asked, captureTrial);
}

/**
 * Says what stands against the nodes and what is new, who would turn trusted by it, and of which nodes it would demand a
 * proof that they do not give; and asks where something stands against one, or a trusted node turns. Where there is nothing
 * it says nothing, so that a script needs no consent.
 * @returns what the capture sends besides
 * @throws CliError if no reason was given that is needed, the answer is no, or there is nobody to ask
 */
export async function confirmCapture(
  io: CliIo,
  client: Client,
  asked: object,
  options: Consent & { readonly reason?: string },
): Promise<{ readonly reason?: string; readonly shown?: string }> {
  const { yes = false, reason } = options;
  const said: { trial?: CaptureTrialView | null } = {};
  const say = async () => {
    said.trial = await tryOnServer(client, asked);
    return said.trial === null ? '' : trialText(said.trial, readingOf(io));
  };
  io.err(yes ? await orWhyNot(say) : await say());
  const { trial } = said;
  // One of an earlier version takes no reason. Where a server could not say it, its answer to the capture does.
  if (trial === null) return {};
  if (trial === undefined) return reason === undefined ? {} : { reason };
  const { references, against, digest } = trial;
  const isActive = references.some(({ state }) => state === 'active');
  if (isActive && against.length > 0 && reason === undefined)
    throw new CliError(
      'nothing was captured: more stands against a node than that it has no reference',
      'Say why it is good with --reason, or capture it with --staged, and approve it once you have looked at it.',
      exit.usage,
    );
  if (isActive && (against.length > 0 || turning(trial).length > 0))
    await questions(io, options)('Capture it anyway?');
  const isShown = against.length > 0 && digest !== '';
  return { ...(reason !== undefined && { reason }), ...(isShown && { shown: digest }) };
}

/** Null at a server of an earlier version, whose references demand nothing; and where a node is not known, which the capture says. */
async function tryOnServer(client: Client, asked: object): Promise<CaptureTrialView | null> {
  try {
    return await tryCapture(client, asked);
  } catch (error) {
    if (error instanceof Refusal && (error.status === 404 || error.status === 405)) return null;
    throw error;
  }
}

function turning({ items }: CaptureTrialView): readonly string[] {
  return items
    .filter(({ before, after }) => before?.state === 'trusted' && after !== null && after.state !== 'trusted')
    .map(({ node }) => node);
}

/** Empty if nothing stands against a node, and nothing is demanded that one does not give. */
export function trialText(trial: CaptureTrialView, textFormat: TextFormat): string {
  const { against } = trial;
  const news = against.map((one) => againstText(one, textFormat)).join('');
  const better = trial.items.filter(isTrustedBy).map(({ node }) => node);
  const staged = trial.references.every(({ state }) => state !== 'active');
  const who =
    against.length === 0
      ? ''
      : `${better.length === 0 ? 'no node' : counted(better.length, 'node')} would turn trusted by it${staged ? ' once it is approved' : ''}${better.length === 0 ? '' : `: ${listed(better)}`}\n`;
  return `${news}${who}${demandText(trial)}`;
}

function againstText(
  { node, state, reasons, new: news }: CaptureTrialView['against'][number],
  textFormat: TextFormat,
): string {
  const things = news.map(({ what, name, digest, more }) => {
    const others = more === 0 ? '' : `, and ${more} more`;
    return field(
      `    new ${printable(what)}`,
      withShortDigests(`${name}${digest === null ? '' : ` ${digest}`}${others}`),
      31,
      textFormat,
    );
  });
  return `${printable(node)} is ${state}\n${reasons.map((reason) => paragraph(reason, textFormat)).join('')}${things.join('')}`;
}

function isTrustedBy({ before, after }: CaptureTrialView['items'][number]): boolean {
  return after?.state === 'trusted' && before?.state !== 'trusted';
}

function demandText(trial: CaptureTrialView): string {
  const lacking = trial.items.filter((item) => item.after !== null && !isTrustedBy(item));
  const unjudged = trial.items.filter(({ after }) => after === null).map(({ node }) => node);
  const more =
    unjudged.length === 0
      ? ''
      : `${counted(unjudged.length, 'node')} cannot be judged: ${listed(unjudged)}\n`;
  if (lacking.length === 0) return more;
  const turn = turning(trial);
  const staged = trial.references.every(({ state }) => state !== 'active');
  const when = staged ? ' once it is approved' : '';
  const sum = `the captured boot proved that nothing was measured again (boot_aggregate), and its reference demands that of each boot with the same kernel and command line${when}; ${counted(lacking.length, 'node')} ${lacking.length === 1 ? 'does' : 'do'} not give this proof`;
  const losing = turn.length === 0 ? '' : `; ${turn.length} would turn pending: ${listed(turn)}`;
  const rows = lacking.map(({ node, before, after }) => [
    node,
    before?.state ?? '-',
    after?.state ?? '-',
    after?.reasons.find(isOfProof)?.actual ?? '-',
  ]);
  return `${sum}${losing}\n${table(['NODE', 'NOW', 'THEN', 'LACKS'], rows)}${more}To demand it of no node, capture with --no-aggregate.\n`;
}

/** The word of the node on what it lacks is in it. */
function isOfProof({ code, aspect }: Reason): boolean {
  return code === 'facts_unavailable' && aspect === 'boot';
}

/** The warning for a person who vouches for it; empty if it demands the proof, or shall not. */
export function noDemandText({ kind, name, captured, aggregate }: ReferenceView, wanted: boolean): string {
  if (kind !== 'boot' || !wanted || aggregate !== undefined) return '';
  return `${printable(captured?.node ?? 'its node')} has not proven that nothing was measured again in its boot (boot_aggregate), so reference ${printable(name)} demands that of no node\n`;
}

/** The text on a capture that came with its demand. */
export function demandedText({ name, aggregate }: ReferenceView): string {
  if (aggregate === undefined) return '';
  return `reference ${printable(name)} demands the proof boot_aggregate of each boot with its kernel and command line: a node that does not give it is pending while ${printable(name)} is active\n`;
}
