import { z } from 'zod';
import * as api from '../api/api.ts';
import { auditEntry } from '../api/audit-pages.ts';
import { authorityView } from '../api/authority-api.ts';
import { nodeView, shownReason } from '../api/node-api.ts';
import { simulateAnswer, simulatedNode, simulatedPage } from '../api/policy-api.ts';
import { problem, problemCodeSchema } from '../api/problem.ts';
import { volumeView } from '../api/volume-api.ts';
import { bundle } from '../formats/bundle.ts';
import { eventMessage } from '../formats/event.ts';
import { reference } from '../formats/reference.ts';
import { reasonCodes } from '../wire/reasons.ts';
import {
  aspectResultsSchema,
  aspectSchema,
  modeSchema,
  nodeStateSchema,
  reasonCodeSchema,
} from '../wire/verdict.ts';
import { nothing, type Route } from './route.ts';

/** Schemas of answers, by the name that a client knows. Any other has the name of its operation. */
const answered: readonly (readonly [string, z.ZodType])[] = [
  ['Aspect', aspectSchema],
  ['AspectResults', aspectResultsSchema],
  ['AuditEntry', auditEntry],
  ['Authority', authorityView],
  ['Bundle', bundle],
  ['EnrolmentCandidate', api.candidateView],
  ['Event', eventMessage],
  ['HistoryEntry', api.historyView],
  ['Mode', modeSchema],
  ['Node', nodeView],
  ['NodeState', nodeStateSchema],
  ['Policy', api.policyView],
  ['Problem', problem],
  ['ProblemCode', problemCodeSchema],
  ['Reason', shownReason],
  ['ReasonCode', reasonCodeSchema],
  ['Reference', reference],
  ['ReferenceSummary', api.referenceView],
  ['SimulatedNode', simulatedNode],
  ['SimulatedNodePage', simulateAnswer],
  ['Token', api.tokenView],
  ['Volume', volumeView],
];

/** Bodies that several operations take. */
const sent: readonly (readonly [string, z.ZodType])[] = [
  ['Nothing', nothing],
  ['ReferenceChange', api.referenceChange],
  ['SimulatedPage', simulatedPage],
];

export interface DescribedSchemas {
  /** By name: `components.schemas`. */
  readonly byName: Readonly<Record<string, object>>;
  readonly body: (schema: z.ZodType) => object;
  readonly answer: (schema: z.ZodType) => object;
}

/** Each schema of the table once. What is sent may leave out what has a default; what is answered never does. */
export function describeSchemas(routes: readonly Route[]): DescribedSchemas {
  const bodies = new SchemaRegistry('input');
  const answers = new SchemaRegistry('output');
  for (const [name, schema] of sent) bodies.add(name, schema);
  for (const [name, schema] of answered) answers.add(name, schema);
  for (const { operation, body, events, answer = events ?? anything, others = {} } of routes) {
    const name = operation.charAt(0).toUpperCase() + operation.slice(1);
    if (body !== undefined) bodies.add(`${name}Request`, body);
    for (const each of [answer, ...Object.values(others)]) answers.add(`${name}Answer`, each);
  }
  const byName = Object.fromEntries([
    ...Object.entries(answers.described()),
    ...Object.entries(bodies.described()),
  ]);
  return {
    byName,
    body: (schema) => bodies.ref(schema),
    answer: (schema) => answers.ref(schema),
  };
}

/** The answer of a row that says nothing of it. */
export const anything = z.looseObject({});

class SchemaRegistry {
  readonly #registry = z.registry<{ id: string }>();
  readonly #io: 'input' | 'output';

  constructor(io: 'input' | 'output') {
    this.#io = io;
  }

  /** The first name that a schema gets is its own. */
  add(id: string, schema: z.ZodType): void {
    if (!this.#registry.has(schema)) this.#registry.add(schema, { id });
  }

  ref(schema: z.ZodType): object {
    return { $ref: path(this.#registry.get(schema)?.id ?? '') };
  }

  described(): Record<string, object> {
    const { schemas } = z.toJSONSchema(this.#registry, {
      uri: path,
      io: this.#io,
      unrepresentable: 'any',
      override: plain,
    });
    return Object.fromEntries(
      Object.entries(schemas).map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
    );
  }
}

function path(name: string): string {
  return `#/components/schemas/${name}`;
}

/** A newer server may answer more members than these; and what only the parser of this one needs is left out. */
function plain({
  zodSchema,
  jsonSchema,
}: {
  readonly zodSchema: z.core.$ZodTypes;
  readonly jsonSchema: z.core.JSONSchema.BaseSchema;
}): void {
  const { def } = zodSchema._zod;
  if (zodSchema === reasonCodeSchema) jsonSchema.enum = [...reasonCodes];
  if (def.type === 'object' && def.catchall === undefined) delete jsonSchema.additionalProperties;
  // Programs that make clients read fewer kinds of patterns than a browser.
  if (jsonSchema.format === 'date-time' || jsonSchema.pattern?.includes('\\p{')) delete jsonSchema.pattern;
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
}
