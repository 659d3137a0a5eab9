import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The metrics of the server; each room declares its own. A name gets the prefix `assay_`. No label but a node's name is free
 * text, and none is a digest or a key.
 */
export class Figures {
  readonly #registry = new Registry();
  readonly contentType = this.#registry.contentType;

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    for (const name of ofHeapSpaces) this.#registry.removeSingleMetric(name);
  }

  /** @param begin series that are there from the start: one that comes with its first event has no increase then */
  counter<L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[] = [],
    begin: readonly Readonly<Record<L, string>>[] = [],
  ): Counter<L> {
    const counter = new Counter<L>({ ...this.#named(name, help), labelNames: [...labels] });
    for (const series of begin) counter.inc(series, 0);
    return counter;
  }

  /** @param collect sets it at each scrape */
  gauge<L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[] = [],
    collect: (gauge: Gauge<L>) => void = () => {},
  ): Gauge<L> {
    return new Gauge<L>({
      ...this.#named(name, help),
      labelNames: [...labels],
      collect() {
        collect(this);
      },
    });
  }

  /** @param bounds upper ones of its buckets, in seconds */
  histogram<L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[],
    bounds: readonly number[],
  ): Histogram<L> {
    return new Histogram({ ...this.#named(name, help), labelNames: [...labels], buckets: [...bounds] });
  }

  /** One number, asked at each scrape; a counter where the name ends in `_total`. */
  sampled(name: string, help: string, value: () => number): void {
    if (!name.endsWith('_total')) this.gauge(name, help, [], (gauge) => gauge.set(value()));
    else
      new Counter({
        ...this.#named(name, help),
        collect() {
          this.reset();
          this.inc(value());
        },
      });
  }

  /** A number for each word of a closed list, asked at each scrape. */
  sampledBy<Word extends string>(
    name: string,
    help: string,
    label: string,
    words: readonly Word[],
    value: (word: Word) => number,
  ): void {
    this.gauge<string>(name, help, [label], (gauge) => {
      for (const word of words) gauge.set({ [label]: word }, value(word));
    });
  }

  /** All of it in the Prometheus text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #named(name: string, help: string) {
    return { name: `assay_${name}`, help, registers: [this.#registry] };
  }
}

/** A single part of the heap tells an observer nothing. */
const ofHeapSpaces = ['total', 'used', 'available'].map((what) => `nodejs_heap_space_size_${what}_bytes`);
