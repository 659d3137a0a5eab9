import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { parse } from 'yaml';
import { z } from 'zod';

export const rulesFile = join(import.meta.dirname, '..', '..', 'manifests', 'prometheus', 'assay.rules.yaml');

const alertRule = z.strictObject({
  alert: z.string(),
  expr: z.string(),
  for: z.string(),
  keep_firing_for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.strictObject({
    summary: z.string(),
    description: z.string().optional(),
    command: z.string().optional(),
    runbook_url: z.string(),
    code_url: z.string().optional(),
  }),
});
export type AlertRule = z.infer<typeof alertRule>;

export async function readRules(): Promise<readonly AlertRule[]> {
  const groups = z.strictObject({
    groups: z.array(z.strictObject({ name: z.string(), rules: z.array(alertRule) })),
  });
  return groups.parse(parse(await readFile(rulesFile, 'utf8'))).groups.flatMap(({ rules }) => rules);
}

/** Series as Prometheus scraped them, one value each minute: `1x60`, `0+5x60`. */
export type Scraped = readonly (readonly [series: string, values: string])[];

/** An alert that fires, by its labels, and what `$value` is where its words say it. */
export interface Fired {
  readonly alert: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value?: string;
  /** What the query in its description gives; default nothing. */
  readonly description?: string;
}

/** What was scraped, and what fires after so long, `10m`. */
export interface RuleCase {
  readonly name: string;
  readonly scraped: Scraped;
  readonly fires: Readonly<Record<string, readonly Fired[]>>;
  /** How often the rules are looked at, which takes long where it is for a day. Default each minute. */
  readonly every?: '15m';
}

/** What fires after so long, `10m`, as promtool finds it: throws with what it says where that is something else. */
export async function assertFires(
  scraped: Scraped,
  after: string,
  fired: readonly Fired[],
  more: Pick<RuleCase, 'every'> = {},
): Promise<void> {
  await assertCases([{ name: 'series', scraped, fires: { [after]: fired }, ...more }]);
}

/** The same of many cases, which promtool names where they fail. */
export async function assertCases(all: readonly RuleCase[]): Promise<void> {
  const byInterval = Map.groupBy(all, ({ every = '1m' }) => every);
  for (const [every, cases] of byInterval) await assertEvery(every, cases);
}

async function assertEvery(every: string, cases: readonly RuleCase[]): Promise<void> {
  const rules = await readRules();
  const document = {
    rule_files: [rulesFile],
    evaluation_interval: every,
    tests: cases.map(({ name, scraped, fires }) => ({
      name,
      interval: '1m',
      input_series: scraped.map(([series, values]) => ({ series, values })),
      alert_rule_test: Object.entries(fires).flatMap(([after, fired]) =>
        rules.map((rule) => ({
          eval_time: after,
          alertname: rule.alert,
          exp_alerts: fired.filter(({ alert }) => alert === rule.alert).map((one) => expected(rule, one)),
        })),
      ),
    })),
  };
  const folder = await mkdtemp(join(tmpdir(), 'assay-promtool-'));
  try {
    // JSON is YAML.
    await writeFile(join(folder, 'test.yaml'), JSON.stringify(document));
    await promtool('test', 'rules', join(folder, 'test.yaml'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @throws ToolError with the begin of what it says */
export function promtool(...args: readonly string[]): Promise<string> {
  return promtoolOn('', ...args);
}

/** For Go: else a third of its time is the collection of garbage, and it waits for its own threads. */
const seldomCollecting = { GOGC: '400', GOMAXPROCS: '1' };

/** The same with this on stdin. */
export async function promtoolOn(input: string, ...args: readonly string[]): Promise<string> {
  const bounds = { timeoutMs: 110_000, maxOutputBytes: 8_388_608 };
  const { stdout } = await run('promtool', args, {
    ...bounds,
    input: Buffer.from(input),
    env: seldomCollecting,
  });
  return stdout.toString('utf8');
}

function expected({ labels, annotations }: AlertRule, { labels: own, value = '', description = '' }: Fired) {
  const said = (text: string) =>
    text
      .replace(/\{\{ with \$labels\.(\w+) \}\}(.*)\{\{- end \}\}/, (_, name: string, words: string) =>
        own[name] === undefined ? '' : words.replace('{{ . }}', own[name]),
      )
      .replace(/\{\{ \$labels\.(\w+) \}\}/g, (_, name: string) => own[name] ?? '')
      .replace(/\{\{ \$value[^}]*\}\}/g, value);
  return {
    exp_labels: { ...labels, ...own },
    exp_annotations: Object.fromEntries(
      Object.entries(annotations).map(([name, text = '']) => [
        name,
        name === 'description' ? description : said(text),
      ]),
    ),
  };
}
