import assert from 'node:assert/strict';
import { reasonClasses, reasonCodes } from '../../attest-server/wire/reasons.ts';

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: string;
}

/** What a server told at a scrape. */
export interface Scrape {
  readonly samples: readonly Sample[];
  /** Its metrics by name: the type of each, also of those that have no series now. */
  readonly types: ReadonlyMap<string, string>;
}

export function parseScrape(text: string): Scrape {
  const types = new Map(
    [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', is = '']) => [name, is]),
  );
  const samples = text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', labels = '', value = ''] =
        /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? assert.fail(line);
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
      return { name, labels: Object.fromEntries(pairs.map(([, key = '', word = '']) => [key, word])), value };
    });
  return { samples, types };
}

/** Names of the labels that series of this metric have, `le` of a histogram too. */
export function labelsOf({ samples }: Scrape, metric: string): ReadonlySet<string> {
  const its = samples.filter(({ name }) => name === metric);
  return new Set([...(rare[metric] ?? []), ...its.flatMap(({ labels }) => Object.keys(labels))]);
}

/**
 * What a query asks for that no server tells: a metric, a label, or a value that its closed list does not have. Empty: nothing.
 * @param words where labels are named in braces, `{{code}}` or `{{ $labels.code }}`
 */
export function faultsOf(query: string, words: string, scrape: Scrape): string[] {
  const faults: string[] = [];
  const selectors = [...query.matchAll(/\b((?:assay|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)];
  if (selectors.length === 0) return [`no metric in ${query}`];
  const known = new Set(ofPrometheus);
  for (const [selector, metric = '', matchers = ''] of selectors) {
    const its = scrape.samples.filter(({ name }) => name === metric);
    if (its.length === 0 && !(metric in rare && scrape.types.has(metric)))
      faults.push(`${selector}: no series`);
    for (const label of labelsOf(scrape, metric)) known.add(label);
    for (const [, label = '', how = '', value = ''] of matchers.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)) {
      if (ofPrometheus.includes(label)) continue;
      const told = new Set([
        ...its.map(({ labels }) => labels[label]),
        ...(closed[`${metric} ${label}`] ?? []),
      ]);
      for (const one of how.endsWith('~') ? value.split('|') : [value])
        if (!told.has(one)) faults.push(`${selector}: no ${label} ${one}`);
    }
  }
  for (const [, list = ''] of query.matchAll(/\b(?:by|on|without|ignoring)\s*\(([^)]*)\)/g))
    for (const label of list.split(',').flatMap((each) => each.trim() || []))
      if (!known.has(label)) faults.push(`${query}: no label ${label}`);
  for (const [, label = ''] of words.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}/g))
    if (!known.has(label)) faults.push(`${words}: no label ${label}`);
  return faults;
}

/** Metrics of what a usual fleet does not have, whose type alone is told there: the labels that series of them would have. */
const rare: Readonly<Record<string, readonly string[]>> = {
  assay_node_flapping: ['node'],
  assay_node_silence_info: ['node', 'connection', 'says', 'kubelet', 'claimed'],
};

/** Labels that Prometheus adds, or people who have several clusters. */
const ofPrometheus: readonly string[] = ['instance', 'job', 'cluster'];

/** Closed lists of which not every word has a series at a time. */
const closed: Readonly<Record<string, readonly string[]>> = {
  'assay_node_reason_info class': reasonClasses,
  'assay_node_reason_info code': reasonCodes,
  'assay_node_reason_info signed': ['true', 'false'],
  'assay_node_reason_info ours': ['true', 'false'],
};
