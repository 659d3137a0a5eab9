import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

export const exampleFile = join(
  import.meta.dirname,
  ...['..', '..', 'manifests', 'prometheus', 'alertmanager.example.yaml'],
);

const example = z.looseObject({
  route: z.looseObject({ routes: z.array(z.looseObject({ receiver: z.string() })) }),
  receivers: z.array(z.strictObject({ name: z.string() })),
});

/** The example as it is, with receivers that are webhooks here, at every hour of the week, and for tests that wait: hurried. */
export async function exampleFor(receiver: string): Promise<string> {
  const { route, receivers, ...rest } = example.parse(parse(hurried(await readFile(exampleFile, 'utf8'))));
  const routes = route.routes.map(({ active_time_intervals: _, ...kept }) => kept);
  const told = receivers.map(({ name }) => ({
    name,
    webhook_configs: [{ url: receiver, send_resolved: true }],
  }));
  return JSON.stringify({ ...rest, route: { ...route, routes }, receivers: told });
}

/** Rules or routes in which a minute of waiting lasts a second. Nothing else is changed: no expression, no label, no word. */
export function hurried(text: string): string {
  const waits = /^( *(?:for|keep_firing_for|group_wait|group_interval|repeat_interval): )(\d+)([smh])$/gm;
  const milliseconds = { s: 1000, m: 60_000, h: 3_600_000 };
  return text.replace(waits, (_, key: string, count: string, unit: 's' | 'm' | 'h') => {
    return `${key}${(Number(count) * milliseconds[unit]) / 60}ms`;
  });
}
