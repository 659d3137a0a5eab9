import type { Reference } from '../../formats/reference.ts';
import type { BootProblem } from '../../verify/boot/boot-problem.ts';
import type { BootComponent, SecureBootState } from '../../verify/boot/boot-state.ts';
import type { ReplayedBoot } from '../../verify/measured-boot.ts';
import type { LogEvent } from '../../verify/tpm/event-log.ts';
import { type PcrValues, pcrsOf, pcrValue } from '../../wire/pcr-values.ts';
import { isOfUnusedBank } from '../../wire/unused-bank.ts';
import { isOfValuePcr } from '../../wire/value-pcrs.ts';
import { CaptureError } from '../capture-error.ts';
import { besidesValues, valuesIn } from './by-value.ts';
import { comparedBanks, comparedMask } from './compared-pcrs.ts';
import { isHidden } from './file-content.ts';
import { judgedStage, scopeOf } from './judged-stage.ts';
import { maskIdentifiers } from './masked-text.ts';
import { definesMenu, isConstant } from './only-read.ts';
import { type BootScope, defaultScope } from './rules.ts';

export interface CaptureOptions {
  readonly name: string;
  readonly group: string;
  readonly state: 'staged' | 'active';
  /** Who vouches for this boot. */
  readonly by: string;
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** As the policy of the group has it; written down for people. */
  readonly scope?: BootScope;
  /** As the policy of the group has it: of these PCRs the value is kept where the log does not replay onto them. */
  readonly byValue?: readonly number[];
}

/**
 * The reference that a proven boot becomes: what it measured, component by component, with texts of which the
 * identifiers of this one machine are masked, and the events behind them. It names no PCR values: those of a sibling
 * differ; but those that the policy compares by value are components.
 * @throws CaptureError if the boot has no log, the log has problems, or a compared PCR was not quoted
 */
export function captureReference(
  { banks, boot }: { readonly banks: readonly PcrValues[]; readonly boot: ReplayedBoot | null },
  { name, group, state, by, node, at, scope = defaultScope, byValue = [] }: CaptureOptions,
): Reference {
  if (boot === null)
    throw new CaptureError(`${node} sent no boot log; without it nobody can say later what changed`);
  const values = valuesIn(boot.problems, banks, { byValue });
  const against = besidesValues(boot.problems, values).filter(
    (one) => !isOfUnusedBank(one, boot.problems, banks),
  );
  const [problem] = against;
  if (problem !== undefined && against.every(isOfValuePcr)) throw notReplayed(node, group, against, byValue);
  if (problem !== undefined)
    throw new CaptureError(
      `the boot log of ${node} cannot become a reference: ${problem.code}: ${problem.text}`,
    );
  const strong = banks.filter(({ bank }) => comparedBanks.some((compared) => compared === bank));
  if (strong.length === 0)
    throw new CaptureError(`${node} quoted only the SHA-1 bank; switch on SHA-256 in its firmware`);
  for (const quoted of strong)
    for (const pcr of pcrsOf(comparedMask))
      if (pcrValue(quoted, pcr) === null)
        throw new CaptureError(`${node} did not quote ${quoted.bank} PCR ${pcr}`);
  const components = boot.state.components.filter(
    (component) => kept.has(component.pcr) && !isConstant(component) && !definesMenu(component),
  );
  const hidden = components.find(isHidden);
  if (hidden !== undefined)
    throw new CaptureError(
      `the boot of ${node} cannot become a reference: it measured a kernel or an initrd under the name ${shorten(hidden.describes)} (event ${hidden.event})`,
    );
  const line = components.find(isLineWithoutText);
  if (line !== undefined)
    throw new CaptureError(
      `the boot of ${node} cannot become a reference: its log does not have the text of a command line that a loader measured (event ${line.event})`,
    );
  if (components.length === 0) throw new CaptureError(`the boot log of ${node} measures nothing`);
  const keys = keysByEvent(boot.state.secureBoot);
  const revocations = boot.state.secureBoot.databases
    .filter(({ name: database }) => database === 'dbx')
    .flatMap(({ entries }) => entries.map(({ digest }) => digest));
  return {
    version: 1,
    kind: 'boot',
    name,
    group,
    state,
    expires: null,
    pcrs: {},
    components: [...values, ...components].map((component) => ({
      ...recordedComponent(component, scope),
      ...keys.get(component.event),
    })),
    ...(revocations.length > 0 && { revocations }),
    events: boot.log.events
      .filter((event) => isKept(event) && !values.some(({ pcr }) => pcr === event.pcr))
      .map(recordedEvent),
    captured: { by: shorten(by), node: shorten(node), at: new Date(at).toISOString() },
  };
}

/** Attack: a line that no rule reads ever after, since the reference has its digest and calls it something else. */
export function isLineWithoutText({ stage, pcr, text }: BootComponent): boolean {
  return stage === 'cmdline' && (pcr === 8 || pcr === 12) && text === null;
}

/** Some firmware leaves events of its own out of its log: a person may say that this model does. */
function notReplayed(
  node: string,
  group: string,
  problems: readonly BootProblem[],
  byValue: readonly number[],
): CaptureError {
  const pcrs = [...new Set(problems.flatMap(({ pcr }) => pcr ?? []))];
  const all = [...new Set([...byValue, ...pcrs])].sort((a, b) => a - b);
  const which = `PCR ${pcrs.join(', ')}`;
  return new CaptureError(
    `the boot of ${node} cannot become a reference: its log does not replay onto ${which}. If each machine of this model does so, have the policy compare the value: write "boot: {byValue: [${all.join(', ')}]}" for group ${group}, and capture again`,
  );
}

/** PCRs that a reference keeps; 1, 3 and 5 too, which are never compared: a policy may want every event in them explained. */
const kept: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14]);

function isKept({ pcr, type }: LogEvent): boolean {
  return kept.has(pcr) && type !== 'EV_NO_ACTION';
}

/** Characters. A longer text is compared by its digest. */
const longestText = 4096;

function recordedComponent(
  { pcr, kind, stage, digests, describes, text, content }: BootComponent,
  scope: BootScope,
): Reference['components'][number] {
  const masked = text === null ? null : maskIdentifiers(text);
  return {
    stage,
    scope: stage === 'cmdline' ? scope.cmdline : scopeOf(judgedStage(stage, pcr), scope),
    digests: ofQuotedBanks(digests),
    description: shorten(describes),
    pcr,
    kind,
    ...(content !== null && { content }),
    ...(masked !== null && masked.length <= longestText && { text: masked }),
  };
}

/** The lists of keys that people put in: what is reported when one differs. dbx has its own place. */
function keysByEvent({
  databases,
  machineOwner,
}: SecureBootState): ReadonlyMap<number, { readonly keys: NonNullable<ComponentKeys> }> {
  const lists = [...databases, ...machineOwner].filter(({ name }) => name !== 'dbx' && name !== 'MokListX');
  return new Map(
    lists
      .filter(({ entries }) => entries.length > 0 && entries.length <= 256)
      .map(({ event, entries }) => [
        event,
        {
          keys: entries.map(({ digest, subject }) => ({
            digest,
            subject: subject === null ? null : shorten(subject),
          })),
        },
      ]),
  );
}

type ComponentKeys = Reference['components'][number]['keys'];

function recordedEvent({
  index,
  pcr,
  type,
  digests,
  stage,
  describes,
}: LogEvent): Reference['events'][number] {
  return {
    index,
    pcr,
    type: shorten(type),
    digests: ofQuotedBanks(digests),
    stage,
    describes: shorten(describes),
  };
}

/** Without those of SM3, which a log may have and no quote is taken of. */
function ofQuotedBanks(digests: LogEvent['digests']): Reference['events'][number]['digests'] {
  const { sm3_256: _, ...others } = digests;
  return others;
}

/** As long as a reference file may hold (formats/reference.ts). */
function shorten(text: string): string {
  return text.length <= 512 ? text : `${text.slice(0, 511)}…`;
}
