import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The metrics of the server; each room declares its own. A name gets the prefix `assay_`. No label but a node's name is free
 * text, and none is a digest or a key.
 */
export interface Figures {
  /** @param begin series that are there from the start: one that comes with its first event has no increase then */
  counter<L extends string = never>(
    name: string,
    help: string,
    labels?: readonly L[],
    begin?: readonly Readonly<Record<L, string>>[],
  ): Counter<L>;
  /** @param collect sets it at each scrape */
  gauge<L extends string = never>(
    name: string,
    help: string,
    labels?: readonly L[],
    collect?: (gauge: Gauge<L>) => void,
  ): Gauge<L>;
  /** @param bounds upper ones of its buckets, in seconds */
  histogram<L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[],
    bounds: readonly number[],
  ): Histogram<L>;
  /** One number, asked at each scrape; a counter where the name ends in `_total`. */
  sampled(name: string, help: string, value: () => number): void;
  /** A gauge for each word of a closed list, asked at each scrape. */
  sampledBy<Word extends string>(
    name: string,
    help: string,
    label: string,
    words: readonly Word[],
    value: (word: Word) => number,
  ): void;
  /** All of it in the Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

export function createFigures(): Figures {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of ofHeapSpaces) registry.removeSingleMetric(name);
  const registers = [registry];
  const gauge: Figures['gauge'] = <L extends string>(
    name: string,
    help: string,
    labels: readonly L[] = [],
    collect?: (gauge: Gauge<L>) => void,
  ) =>
    new Gauge<L>({
      name: `assay_${name}`,
      help,
      labelNames: [...labels],
      registers,
      ...(collect && {
        collect() {
          collect(this);
        },
      }),
    });
  return {
    counter<L extends string>(
      name: string,
      help: string,
      labels: readonly L[] = [],
      begin: readonly Readonly<Record<L, string>>[] = [],
    ) {
      const counter = new Counter<L>({ name: `assay_${name}`, help, labelNames: [...labels], registers });
      for (const series of begin) counter.inc(series, 0);
      return counter;
    },
    gauge,
    histogram: (name, help, labels, bounds) =>
      new Histogram({
        name: `assay_${name}`,
        help,
        labelNames: [...labels],
        buckets: [...bounds],
        registers,
      }),
    sampled(name, help, value) {
      if (name.endsWith('_total'))
        new Counter({
          name: `assay_${name}`,
          help,
          registers,
          collect() {
            this.reset();
            this.inc(value());
          },
        });
      else gauge(name, help, [], (its) => its.set(value()));
    },
    sampledBy(name, help, label, words, value) {
      gauge<string>(name, help, [label], (its) => {
        for (const word of words) its.set({ [label]: word }, value(word));
      });
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/** Each part of the heap by itself says nothing to who watches. */
const ofHeapSpaces = ['total', 'used', 'available'].map((what) => `nodejs_heap_space_size_${what}_bytes`);
