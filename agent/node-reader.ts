import type { PartName } from '../attest-server/wire/evidence.ts';
import type { HostFacts } from '../attest-server/wire/facts.ts';
import { limits } from '../attest-server/wire/limits.ts';
import type { Challenge } from '../attest-server/wire/messages.ts';
import type { SupplementName } from '../attest-server/wire/supplements.ts';
import { AgentError } from './agent-error.ts';
import { readBootId } from './collectors/boot-id.ts';
import {
  type AskedParts,
  type Collector,
  type FactsCollector,
  type FoundSupplement,
  type PartCollector,
  type SupplementCollector,
  Unavailable,
} from './collectors/collector.ts';
import type { Logger } from './logger.ts';

/** The evidence that the collectors gave for one answer. */
export interface CollectedEvidence {
  readonly bootId: string;
  /** Null if no collector could say anything. */
  readonly host: HostFacts | null;
  /** Parts that are read before the quote. */
  readonly parts: ReadonlyMap<PartName, Buffer>;
  /** The same of supplements that were asked for, as far as they were found. */
  readonly supplements?: FoundSupplements;
  /** Collectors that gave nothing, and why. What is read after the quote is said with the next answer. */
  readonly unavailable: Readonly<Record<string, string>>;
  /** Reads those that grow: to be called once the quote is there. Never rejects. */
  readonly readGrowing: () => Promise<GrownEvidence>;
}

export type FoundSupplements = ReadonlyMap<SupplementName, FoundSupplement>;

/** Evidence that is read after the quote. */
export interface GrownEvidence {
  readonly parts: ReadonlyMap<PartName, Buffer>;
  readonly supplements?: FoundSupplements;
}

/** The evidence that a challenge asks for. */
export interface RequestedEvidence extends AskedParts {
  /** Names of the parts that the server takes. */
  readonly parts: readonly string[];
  /** The piece of each supplement that it asks for; default none. */
  readonly supplements?: AskedSupplements;
}

type AskedSupplements = Readonly<NonNullable<Challenge['supplements']>>;

/** Reads the node again. @throws AgentError `facts_unavailable` */
export type ReadNode = (asked: RequestedEvidence) => Promise<CollectedEvidence>;

/** Milliseconds that an answer waits for a collector that names no time of its own. */
const usualMs = 250;

/**
 * Asks every collector of the list, in parallel, each with a deadline of its own.
 * @param look at what changes on the node and among these paths
 */
export function nodeReader(
  list: readonly Collector[],
  sysroot: string,
  logger: Logger,
  look: (paths: readonly string[]) => Promise<void> = async () => {},
): ReadNode {
  const facts = list
    .filter(
      (collector): collector is FactsCollector =>
        collector.part === null && collector.supplement === undefined,
    )
    .map((collector) => new CollectorRun(collector, sysroot, logger));
  const parts = list
    .filter((collector): collector is PartCollector => collector.part !== null)
    .map((collector) => ({ collector, asking: new CollectorRun(collector, sysroot, logger) }));
  const supplements = list
    .filter((collector): collector is SupplementCollector => collector.supplement !== undefined)
    .map((collector) => ({ collector, asking: new CollectorRun(collector, sysroot, logger) }));
  const toldMissing = new Set<string>();

  const tellMissing = ({ name, missing }: PartCollector) => {
    if (missing === undefined || toldMissing.has(name)) return;
    toldMissing.add(name);
    logger.warn({ code: missing.code }, missing.text);
  };
  const readParts = async (asked: typeof parts, by: AskedParts) => {
    const found = new Map<PartName, Buffer>();
    const values = await Promise.all(
      asked.map(({ collector, asking }) => asking.ask((value) => tooLarge(value, collector.part), by)),
    );
    for (const [index, value] of values.entries()) {
      const collector = asked[index]?.collector;
      if (collector === undefined || value instanceof Unavailable) continue;
      if (value === null) tellMissing(collector);
      else found.set(collector.part, value);
    }
    return found;
  };

  const readSupplements = async (asked: typeof supplements, places: AskedSupplements) => {
    const found = new Map<SupplementName, FoundSupplement>();
    const read = async ({ collector, asking }: (typeof supplements)[number]) => {
      const place = places[collector.supplement];
      const value = place === undefined ? null : await asking.ask(nothing, place);
      if (value === null || value instanceof Unavailable) return;
      // If some could not be read, the others are still sent.
      asking.note(value.unread ?? null);
      found.set(collector.supplement, value);
    };
    await Promise.all(asked.map(read));
    return found;
  };

  return async ({ parts: taken, supplements: places = {}, paths = [], local = false }) => {
    const by = { paths, local };
    // Before and after: else nobody would tell that it is again as it was, where it was another for this answer alone.
    await look(paths);
    const read = parts.filter(({ collector }) => taken.includes(collector.part));
    const wanted = supplements.filter(({ collector }) => places[collector.supplement] !== undefined);
    const [bootId, said, found, additions] = await Promise.all([
      readBootId(sysroot).catch(noBootId),
      Promise.all(facts.map((asking) => asking.ask(nothing, []))),
      readParts(read.filter(isBefore), by),
      readSupplements(wanted.filter(isBefore), places),
    ]);
    await look(paths);
    const host = said.filter((value) => !(value instanceof Unavailable));
    const unavailable: Record<string, string> = {};
    const told = supplements.filter((each) => each.collector.faultStays === true || wanted.includes(each));
    const askings = [...facts, ...told.map(({ asking }) => asking), ...read.map(({ asking }) => asking)];
    for (const { name, fault } of askings) if (fault !== null) unavailable[name] = fault;
    return {
      bootId,
      host: host.length === 0 ? null : Object.assign({}, ...host),
      parts: found,
      supplements: additions,
      unavailable,
      async readGrowing() {
        const [grown, others] = await Promise.all([
          readParts(read.filter(isAfter), by),
          readSupplements(wanted.filter(isAfter), places),
        ]);
        return { parts: grown, supplements: others };
      },
    };
  };
}

interface ScheduledCollector {
  readonly collector: { readonly after?: 'quote' };
}
const isAfter = ({ collector }: ScheduledCollector) => collector.after === 'quote';
const isBefore = (each: ScheduledCollector) => !isAfter(each);

const stillReading = new Unavailable('the earlier reading has not ended yet');

/** One collector, over all answers: each fault of it is reported once. */
class CollectorRun<Value, For> {
  readonly name: string;
  /** Why the last reading gave nothing; null if it did. */
  fault: string | null = null;
  readonly #collector: Pick<Collector, 'name' | 'within'> & Reader<Value, For>;
  readonly #sysroot: string;
  readonly #logger: Logger;
  readonly #told = new Set<string>();
  #isReading = false;

  constructor(
    collector: Pick<Collector, 'name' | 'within'> & Reader<Value, For>,
    sysroot: string,
    logger: Logger,
  ) {
    this.name = collector.name;
    this.#collector = collector;
    this.#sysroot = sysroot;
    this.#logger = logger;
  }

  /** @param objection what is wrong with a value; null if nothing is */
  async ask(objection: (value: Value) => string | null, asked: For): Promise<Value | Unavailable> {
    // A reading that nothing ends must not be followed by more of them: each holds a thread.
    if (this.#isReading) {
      this.note(stillReading.cause);
      return stillReading;
    }
    const within = this.#collector.within ?? usualMs;
    const stop = new AbortController();
    const late = Promise.withResolvers<Unavailable>();
    const timer = setTimeout(() => {
      late.resolve(new Unavailable(`not read within ${within} ms`));
      stop.abort();
    }, within);
    this.#isReading = true;
    const reading = Promise.try(() => this.#collector.read(this.#sysroot, stop.signal, asked))
      .catch((error: unknown) => new Unavailable(error instanceof Error ? error.message : String(error)))
      .finally(() => {
        this.#isReading = false;
      });
    const value = await Promise.race([reading, late.promise]);
    clearTimeout(timer);
    this.note(value instanceof Unavailable ? value.cause : objection(value));
    return this.fault === null ? value : new Unavailable(this.fault);
  }

  /** Notes its present fault. */
  note(fault: string | null): void {
    this.fault = fault === null ? null : printable(fault);
    if (this.fault !== null) this.#tell(this.fault);
  }

  #tell(fault: string): void {
    if (this.#told.has(fault) || this.#told.size >= mostTold) return;
    this.#told.add(fault);
    this.#logger.warn(
      { code: 'facts_unavailable', collector: this.name, text: fault },
      'a collector gave no data: answers are sent without it',
    );
  }
}

/** Different faults of one collector that are reported: a text that is new each time would fill the log. */
const mostTold = 16;

interface Reader<Value, For> {
  read(sysroot: string, signal: AbortSignal, asked: For): Promise<Value | Unavailable>;
}

const nothing = () => null;

function tooLarge(value: Buffer | null, part: PartName): string | null {
  const most = limits.parts[part];
  return value !== null && value.length > most ? `longer than ${most} bytes` : null;
}

/** As facts may hold it. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 256);
}

function noBootId(cause: unknown): never {
  throw new AgentError('facts_unavailable', cause instanceof Error ? cause.message : String(cause), {
    retryable: true,
    cause,
  });
}
