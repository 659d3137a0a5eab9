import type { ReferenceView } from '../../protocol/api.ts';
import { type CaptureTrialView, captureTrial } from '../../protocol/policy-api.ts';
import { printable } from '../../protocol/printable.ts';
import type { Reason } from '../../protocol/verdict.ts';
import { type Client, Refusal } from '../client.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliIo } from '../context.ts';
import { counted, listed } from '../sentence.ts';
import { readSimulation } from '../simulation.ts';
import { table } from '../table.ts';

/** What a capture would make, and the nodes of which that would demand a proof that they do not give. */
export function tryCapture(client: Client, asked: object): Promise<CaptureTrialView> {
  return readSimulation(client, '/v1/references/capture/simulate', asked, captureTrial);
}

/**
 * Says of which nodes a capture would demand a proof that they do not give, and asks where one of them is trusted now. Where
 * there is none it says nothing, so that a script needs no consent.
 * @throws CliError where the answer is no, or there is nobody to ask
 */
export async function confirmDemand(
  io: CliIo,
  client: Client,
  asked: object,
  options: Consent,
): Promise<void> {
  let turn: readonly string[] = [];
  const say = async () => {
    const trial = await tryOnServer(client, asked);
    if (trial === null) return '';
    turn = trial.references.some(({ state }) => state === 'active') ? trusted(trial) : [];
    return demandText(trial);
  };
  io.err(options.yes === true ? await orWhyNot(say) : await say());
  if (turn.length > 0) await questions(io, options)('Capture it all the same?');
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

function trusted({ items }: CaptureTrialView): readonly string[] {
  return items
    .filter(({ before, after }) => before?.state === 'trusted' && after !== null && after.state !== 'trusted')
    .map(({ node }) => node);
}

/** Empty where nothing is demanded that a node does not give. */
export function demandText(trial: CaptureTrialView): string {
  const lacking = trial.items.filter(({ after }) => after !== null);
  const unjudged = trial.items.filter(({ after }) => after === null).map(({ node }) => node);
  const more =
    unjudged.length === 0
      ? ''
      : `${counted(unjudged.length, 'node')} cannot be judged: ${listed(unjudged)}\n`;
  if (lacking.length === 0) return more;
  const turn = trusted(trial);
  const staged = trial.references.every(({ state }) => state !== 'active');
  const when = staged ? ' once it is approved' : '';
  const sum = `the captured boot proved that nothing was measured again (boot_aggregate), and its reference demands that of each boot with the same kernel and command line${when}; ${counted(lacking.length, 'node')} ${lacking.length === 1 ? 'does' : 'do'} not give this proof`;
  const turning = turn.length === 0 ? '' : `; ${turn.length} would turn pending: ${listed(turn)}`;
  const rows = lacking.map(({ node, before, after }) => [
    node,
    before?.state ?? '-',
    after?.state ?? '-',
    after?.reasons.find(isOfProof)?.actual ?? '-',
  ]);
  return `${sum}${turning}\n${table(['NODE', 'NOW', 'THEN', 'LACKS'], rows)}${more}To demand it of no node, capture with --no-aggregate.\n`;
}

/** The word of the node on what it lacks is in it. */
function isOfProof({ code, aspect }: Reason): boolean {
  return code === 'facts_unavailable' && aspect === 'boot';
}

/** What a person should know who vouches for it; empty where it demands the proof, or shall not. */
export function noDemandText({ kind, name, captured, aggregate }: ReferenceView, wanted: boolean): string {
  if (kind !== 'boot' || !wanted || aggregate !== undefined) return '';
  return `${printable(captured?.node ?? 'its node')} has not proven that nothing was measured again in its boot (boot_aggregate), so reference ${printable(name)} demands that of no node\n`;
}

/** Of one that came with its demand. */
export function demandedText({ name, aggregate }: ReferenceView): string {
  if (aggregate === undefined) return '';
  return `reference ${printable(name)} demands the proof boot_aggregate of each boot with its kernel and command line: a node that does not give it is pending while ${printable(name)} is active\n`;
}
