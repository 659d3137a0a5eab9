import { z } from 'zod';
import { problem } from '../protocol/api.ts';
import type { Route } from './route.ts';

/** OpenAPI 3.1 of the route table: what is not in the table is not described, and the other way round. */
export function openApi(routes: readonly Route[]): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes)
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) };
  return {
    openapi: '3.1.0',
    info: {
      title: 'Assay',
      version: '1',
      description: 'Node attestation: states, evidence, reference values',
    },
    paths,
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
  };
}

function operation({ path, role, summary, body, answer, method }: Route): unknown {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  return {
    summary,
    'x-assay-role': role,
    security: role === 'none' ? [] : [{ bearer: [] }],
    ...(names.length > 0 && {
      parameters: names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    }),
    ...(body && { requestBody: { required: true, content: json('application/json', body) } }),
    responses: {
      [method === 'POST' ? '201' : '200']: {
        description: 'done',
        content: json('application/json', answer ?? z.looseObject({})),
      },
      default: { description: 'a problem', content: json('application/problem+json', problem) },
    },
  };
}

function json(type: string, schema: z.ZodType): unknown {
  return { [type]: { schema: z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' }) } };
}
