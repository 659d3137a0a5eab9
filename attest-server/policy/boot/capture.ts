import type { PcrBank } from '../../protocol/messages.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import type { LogEvent } from '../../verify/tpm/event-log.ts';
import { comparedBanks, comparedMask, pcrsOf, pcrValue } from './compared-pcrs.ts';

export interface CaptureOptions {
  readonly name: string;
  readonly group: string;
  readonly state: 'staged' | 'active';
  /** Who vouches for this boot. */
  readonly by: string;
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * The reference that a proven boot becomes: the compared PCRs of every strong bank quoted, and the events behind them.
 * @throws CaptureError where the boot has no log, the log has problems, or a compared PCR was not quoted
 */
export function captureReference(
  { banks, boot }: Pick<Proven, 'banks' | 'boot'>,
  { name, group, state, by, node, at }: CaptureOptions,
): Reference {
  if (boot === null)
    throw new CaptureError(`${node} sent no boot log, so that nobody could say later what changed`);
  const problem = boot.problems[0];
  if (problem !== undefined)
    throw new CaptureError(`the boot log of ${node} is no reference: ${problem.code}: ${problem.text}`);
  const pcrs: Partial<Record<PcrBank, Record<string, string>>> = {};
  for (const bank of comparedBanks) {
    const quoted = banks.find((candidate) => candidate.bank === bank);
    if (quoted === undefined) continue;
    pcrs[bank] = Object.fromEntries(
      pcrsOf(comparedMask).map((pcr) => {
        const value = pcrValue(quoted, pcr);
        if (value === null) throw new CaptureError(`${node} did not quote ${bank} PCR ${pcr}`);
        return [String(pcr), value.toString('hex')];
      }),
    );
  }
  if (Object.keys(pcrs).length === 0)
    throw new CaptureError(`${node} quoted no bank better than SHA-1; allocate SHA-256 in its firmware`);
  return {
    version: 1,
    name,
    group,
    state,
    expires: null,
    pcrs,
    components: [],
    events: boot.log.events.filter(isKept).map(recorded),
    captured: { by: shorten(by), node: shorten(node), at: new Date(at).toISOString() },
  };
}

/** This boot cannot become a reference; the message says why. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
}

const kept: ReadonlySet<number> = new Set(pcrsOf(comparedMask));

function isKept({ pcr, type }: LogEvent): boolean {
  return kept.has(pcr) && type !== 'EV_NO_ACTION';
}

function recorded({ index, pcr, type, digests, stage, describes }: LogEvent): Reference['events'][number] {
  return { index, pcr, type: shorten(type), digests, stage, describes: shorten(describes) };
}

/** As long as a reference file may hold (protocol/reference.ts). */
function shorten(text: string): string {
  return text.length <= 512 ? text : `${text.slice(0, 511)}…`;
}
