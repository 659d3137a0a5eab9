/**
 * States what a boot was, as far as the quote vouches for it (`docs/boot-facts.md`): `components`, texts, and
 * the files of the loader by their bytes (`file-content`, `environment-block`, and `verify/listed-files`).
 */

import type { LogBank } from '../tpm/algorithms.ts';
import type { ParsedLog } from '../tpm/event-log.ts';
import { eventType } from '../tpm/event-types.ts';
import { lacksDigest } from '../tpm/event-verified.ts';
import type { RawLog } from '../tpm/log-format.ts';
import { fewerNotes, type LogNote } from '../tpm/log-notes.ts';
import { extendsPcr } from '../tpm/replay.ts';
import { byteText, utf16Text } from '../tpm/shown-text.ts';
import type { BootProblem, ProblemCollector } from './boot-problem.ts';
import {
  type BootComponent,
  type BootState,
  isLoaderFile,
  type SecureBootState,
  type VouchedText,
} from './boot-state.ts';
import { type CommandLine, commandLines, saidCommandLine } from './command-lines.ts';
import { bootComponents, type Component } from './components.ts';
import { checkConsistency } from './consistency.ts';
import { type FileSet, noFiles } from './loader-files.ts';
import { secureBootState } from './secure-boot-state.ts';
import { type Boundaries, findBoundaries, isSeparator } from './separators.ts';
import { isVouched, type VouchedLog, type VouchedPcrBanks, vouchedLog } from './vouched-log.ts';

/**
 * The boot, as far as the TPM vouches for it. It never throws: what does not parse is no fact.
 * @param vouched the quoted banks, and the PCRs that the log replays onto in every one of them
 * @param files that its loader may have read
 */
export function bootState(log: ParsedLog, vouched: VouchedPcrBanks, files: FileSet = noFiles): BootState {
  const known = vouchedLog(log, vouched);
  return new DerivedBootState(known, findAll(known), files);
}

/** A log read by itself: every PCR in every bank that each of its events has, as if those were quoted. */
export function asTheLogSays({ raw }: ParsedLog): VouchedPcrBanks {
  const whole = raw.banks.filter((bank) => !lacksAny(raw, bank));
  return { banks: whole.length > 0 ? whole : raw.banks, pcrs: 0xffffffff };
}

function lacksAny(raw: RawLog, bank: LogBank): boolean {
  for (let event = 0; event < raw.count; event++)
    if (extendsPcr(raw, event) && lacksDigest(raw, event, [bank])) return true;
  return false;
}

/** The same boot, with the command line that the node says it had, where the TPM vouches for that. */
export function knowingCommandLine(state: BootState, said: string): BootState {
  return state instanceof DerivedBootState ? state.knowing(said) : state;
}

/** Signs of tampering. */
interface LogFindings extends Pick<BootState, 'secureBoot' | 'firmwareVersion' | 'problems' | 'notes'> {
  readonly boundaries: Boundaries;
}

function findAll(vouched: VouchedLog): LogFindings {
  const noticed: ProblemCollector = { problems: [], notes: [] };
  const { problems, notes } = noticed;
  const boundaries = findBoundaries(vouched, noticed);
  const secureBoot = secureBootState(vouched, boundaries, problems);
  checkConsistency(vouched, boundaries, secureBoot, noticed);
  return {
    boundaries,
    secureBoot,
    firmwareVersion: firmwareVersion(vouched),
    problems: problems.length > problemsKept ? fewer(problems) : problems,
    notes: notes.length > 1 ? fewerNotes(notes.sort(byEvent)) : notes,
  };
}

/** Found at once is what tells of tampering; what policies ask for is made when first asked for. */
class DerivedBootState implements BootState {
  readonly secureBoot: SecureBootState;
  readonly firmwareVersion: VouchedText | null;
  readonly problems: readonly BootProblem[];
  readonly notes: readonly LogNote[];
  readonly #vouched: VouchedLog;
  readonly #found: LogFindings;
  readonly #files: FileSet;
  readonly #said: CommandLine | null;
  #commandLines: readonly CommandLine[] | undefined;
  #components: readonly Component[] | undefined;
  #unexplained: readonly BootComponent[] | undefined;
  #knowing: { readonly said: string; readonly state: BootState } | undefined;

  constructor(vouched: VouchedLog, found: LogFindings, files: FileSet, said: CommandLine | null = null) {
    this.secureBoot = found.secureBoot;
    this.firmwareVersion = found.firmwareVersion;
    this.problems = found.problems;
    this.notes = found.notes;
    this.#vouched = vouched;
    this.#found = found;
    this.#files = files;
    this.#said = said;
  }

  get commandLines(): readonly CommandLine[] {
    this.#commandLines ??= [
      ...commandLines(this.#vouched, this.#found.boundaries),
      ...(this.#said === null ? [] : [this.#said]),
    ];
    return this.#commandLines;
  }

  get components(): readonly BootComponent[] {
    return this.#all;
  }

  get unexplained(): readonly BootComponent[] {
    this.#unexplained ??= this.#all.filter(
      (one) => isLoaderFile(one) && (one.content === null || one.content === 'other'),
    );
    return this.#unexplained;
  }

  get explaining(): readonly string[] {
    return [...new Set(this.#all.flatMap((one) => one.explained?.file ?? []))];
  }

  get #all(): readonly Component[] {
    this.#components ??= bootComponents(
      this.#vouched,
      this.#found.boundaries,
      this.commandLines,
      this.#files,
    );
    return this.#components;
  }

  /** A node says the same in each answer, so that the last one is worth remembering. */
  knowing(said: string): BootState {
    if (this.#knowing?.said !== said) this.#knowing = { said, state: this.#with(said) };
    return this.#knowing.state;
  }

  #with(said: string): BootState {
    // Where a loader wrote the line, the log has it as text.
    if (this.commandLines.some(({ loadOptions }) => loadOptions === said)) return this;
    const line = saidCommandLine(this.#vouched, this.#found.boundaries, said);
    return line === null ? this : new DerivedBootState(this.#vouched, this.#found, this.#files, line);
  }
}

/**
 * Measured first of all, into PCR 0; some firmware has a GUID there. Attack: a version that the system extended behind the
 * separator. PC Client PFP 1.06, section 10.4.1.
 */
function firmwareVersion(vouched: VouchedLog): VouchedText | null {
  const { raw } = vouched.log;
  for (let event = 0; event < raw.count; event++) {
    if (raw.pcrs[event] !== 0) continue;
    if (isSeparator(vouched, event)) return null;
    if (raw.types[event] !== eventType.crtmVersion) continue;
    const measured = vouched.measured[event];
    if (!measured || !isVouched(vouched, event)) return null;
    const text = (utf16Text(measured) ?? byteText(measured) ?? '').trim();
    return /^[ -~]+$/.test(text) ? { event, text } : null;
  }
  return null;
}

function byEvent(one: LogNote, other: LogNote): number {
  return (one.event ?? 0) - (other.event ?? 0);
}

/** A log that was made to be wrong everywhere must not bloat a verdict. */
const problemsKept = 32;

/** The first few of each code. */
function fewer(problems: readonly BootProblem[]): readonly BootProblem[] {
  const counts = new Map<string, number>();
  return problems.filter(({ code }) => {
    const count = (counts.get(code) ?? 0) + 1;
    counts.set(code, count);
    return count <= problemsKept / 4;
  });
}
