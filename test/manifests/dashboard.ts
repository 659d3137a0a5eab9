import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const dashboardFile = join(import.meta.dirname, ...['..', '..', 'manifests', 'prometheus', 'dashboard.json']);

const datasource = z.strictObject({
  type: z.literal('prometheus'),
  uid: z.string().regex(/^\$\{datasource\}$/),
});
const target = z.strictObject({
  refId: z.string().regex(/^[A-Z]$/),
  datasource,
  expr: z.string().min(1),
  legendFormat: z.string(),
  instant: z.literal(true).optional(),
  range: z.literal(false).optional(),
  format: z.literal('table').optional(),
});
const gridPos = z.strictObject({
  x: z.int().min(0),
  y: z.int().min(0),
  w: z.int().min(1),
  h: z.int().min(1),
});
const row = z.strictObject({
  id: z.int(),
  type: z.literal('row'),
  title: z.string().min(1),
  collapsed: z.literal(false),
  gridPos,
  panels: z.tuple([]),
});
const panel = z.strictObject({
  id: z.int(),
  type: z.enum(['stat', 'timeseries', 'table']),
  title: z.string().min(1),
  description: z.string().min(1),
  datasource,
  gridPos,
  targets: z.array(target).min(1),
  fieldConfig: z.looseObject({ defaults: z.looseObject({ unit: z.string() }) }),
  transformations: z.array(z.looseObject({ id: z.string() })).optional(),
  options: z.looseObject({}),
});
const variable = z.looseObject({
  name: z.string(),
  type: z.enum(['datasource', 'query']),
  query: z.unknown(),
});

/** As far as it is ours; Grafana knows more members, and this dashboard has none of them. */
const dashboard = z.strictObject({
  uid: z.string(),
  title: z.string(),
  description: z.string(),
  tags: z.array(z.string()),
  schemaVersion: z.int(),
  version: z.int(),
  editable: z.boolean(),
  graphTooltip: z.int(),
  refresh: z.string(),
  timezone: z.string(),
  time: z.strictObject({ from: z.string(), to: z.string() }),
  annotations: z.strictObject({ list: z.tuple([]) }),
  links: z.tuple([]),
  templating: z.strictObject({ list: z.array(variable) }),
  panels: z.array(z.discriminatedUnion('type', [row, panel])),
});
export type Dashboard = z.infer<typeof dashboard>;

export async function readDashboard(): Promise<Dashboard> {
  return dashboard.parse(JSON.parse(await readFile(dashboardFile, 'utf8')));
}

/** A query of a panel. */
export interface PanelQuery {
  readonly panel: string;
  readonly expr: string;
  readonly legend: string;
}

export function queriesOf({ panels }: Dashboard): readonly PanelQuery[] {
  return panels.flatMap((each) =>
    each.type === 'row'
      ? []
      : each.targets.map(({ expr, legendFormat }) => ({
          panel: each.title,
          expr,
          legend: legendFormat,
        })),
  );
}
