import { z } from 'zod';
import { problem } from '../api/problem.ts';
import { anything, type DescribedSchemas, describeSchemas } from './openapi-schemas.ts';
import { bodyBytes, isTagged, type Route } from './route.ts';

/** OpenAPI 3.1 of the route table: what is not in the table is not described, and the other way round. */
export function openApi(routes: readonly Route[]): unknown {
  const schemas = describeSchemas(routes);
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes)
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: describe(route, schemas) };
  const used = new Set<string>(routes.map(tagOf));
  return {
    openapi: '3.1.0',
    info: {
      title: 'Assay',
      version: '1',
      description:
        'Node attestation: states, evidence, reference values. What fails is a problem (RFC 9457) with a code of a closed list.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The server that gave this description' }],
    tags: Object.entries(tags).flatMap(([name, description]) =>
      used.has(name) ? [{ name, description }] : [],
    ),
    paths,
    components: {
      schemas: schemas.byName,
      responses: Object.fromEntries(
        Object.values(problems).map(({ name, ...response }) => [
          name,
          Object.assign(response, { content: json('application/problem+json', schemas.answer(problem)) }),
        ]),
      ),
      parameters: {
        LastEventId: {
          name: 'Last-Event-ID',
          in: 'header',
          description: 'The id of the last event that the listener has; it is told what came after',
          schema: { type: 'string' },
        },
        IfNoneMatch: {
          name: 'If-None-Match',
          in: 'header',
          description: 'The ETag of an answer that the caller has: 304 if it is unchanged',
          schema: { type: 'string' },
        },
      },
      headers: {
        ETag: { description: 'Changes with the answer', schema: { type: 'string' } },
      },
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    },
  };
}

function describe(route: Route, schemas: DescribedSchemas): object {
  const { operation, summary, role, body, maxBytes = bodyBytes } = route;
  const parameters = [...pathParameters(route), ...queryParameters(route)];
  if (isTagged(route)) parameters.push({ $ref: '#/components/parameters/IfNoneMatch' });
  if (route.events !== undefined) parameters.push({ $ref: '#/components/parameters/LastEventId' });
  return {
    operationId: operation,
    tags: [tagOf(route)],
    summary,
    'x-assay-role': role,
    security: role === 'none' ? [] : [{ bearer: [] }],
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        description: `At most ${maxBytes} bytes`,
        required: true,
        content: json('application/json', schemas.body(body)),
      },
    }),
    responses: Object.fromEntries([
      ...answersOf(route, schemas),
      ...problemsOf(route).map((status) => [
        status,
        { $ref: `#/components/responses/${problems[status].name}` },
      ]),
    ]),
  };
}

function pathParameters({ path }: Route): object[] {
  return [...path.matchAll(/\/([a-z-]+)\/\{(\w+)\}/g)].map(([, list = '', name]) => ({
    name,
    in: 'path',
    description: `A name, as the list of ${list} has it`,
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters({ query }: Route): object[] {
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: 'input', unrepresentable: 'any' });
  return Object.entries(properties).map(([name, property]) => {
    const { description = usualParameters[name], ...schema } = typeof property === 'object' ? property : {};
    return {
      name,
      in: 'query',
      ...(description && { description }),
      required: required.includes(name),
      schema,
    };
  });
}

const usualParameters: Readonly<Record<string, string>> = {
  limit: 'How many items a page has at most',
  after: 'The `next` of the page before',
  before: 'The `next` of the page before',
};

function answersOf(route: Route, schemas: DescribedSchemas): (readonly [string, object])[] {
  const { status = 200, answer = anything, others = {}, events } = route;
  const tag = { headers: { ETag: { $ref: '#/components/headers/ETag' } } };
  const done =
    events === undefined
      ? { description: 'Done', content: json('application/json', schemas.answer(answer)) }
      : { description: eachEvent, content: json('text/event-stream', schemas.answer(events)) };
  return [
    [String(status), isTagged(route) ? Object.assign(done, tag) : done],
    ...Object.entries(others).map(
      ([other, schema]) =>
        [
          other,
          { description: 'Not now', content: json('application/json', schemas.answer(schema)) },
        ] as const,
    ),
    ...(isTagged(route)
      ? [['304', Object.assign({ description: 'The caller has it already' }, tag)] as const]
      : []),
  ];
}

const eachEvent = 'A stream of events; the schema is that of the data of each (`data:`)';

type Problems = keyof typeof problems;

/** Those that each row of its kind may answer, and its own. */
function problemsOf({ role, path, body, problems: own = [] }: Route): readonly Problems[] {
  return [
    400,
    ...(role === 'none' ? [] : ([401, 403] as const)),
    ...(path.includes('{') && !own.includes(404) ? ([404] as const) : []),
    ...(body === undefined ? [] : ([413, 415] as const)),
    ...own,
    'default',
  ];
}

const problems = {
  400: {
    name: 'BadRequest',
    description: 'A parameter or the body is not what it must be; `field` names it',
  },
  401: {
    name: 'Unauthorized',
    description: 'No token that is valid now',
    headers: { 'WWW-Authenticate': { description: 'Bearer', schema: { type: 'string' } } },
  },
  403: { name: 'Forbidden', description: 'The role of the token does not suffice' },
  404: { name: 'NotFound', description: 'What the path or the body names is not there' },
  409: { name: 'Conflict', description: 'What is there does not allow it' },
  413: { name: 'TooLarge', description: 'The body is larger than this operation takes' },
  415: { name: 'UnsupportedMediaType', description: 'The body is not application/json' },
  429: {
    name: 'Busy',
    description: 'Others ask already; come again',
    headers: { 'Retry-After': { description: 'Seconds', schema: { type: 'integer', minimum: 1 } } },
  },
  default: { name: 'Failed', description: 'A fault of the server, or a problem that any request may meet' },
} as const;

const tags = {
  nodes: 'Nodes: their states, history and evidence',
  enrolment: 'Which TPM is which node',
  references: 'What nodes are compared with: boots, disks, firewalls',
  policy: 'The rules in force, and trials of others',
  volumes: 'Encrypted volumes of nodes, and who can recover them',
  tokens: 'Who may call this API',
  audit: 'What was done and by whom, as it happens, and copies of the database',
  authority: 'The authority behind the certificate of the server',
  cluster: 'The marks of nodes in a cluster, and what people decide about them',
  server: 'The server itself',
} as const;

/** By the first part of a path behind the version. */
const tagByPart: Readonly<Record<string, keyof typeof tags>> = {
  nodes: 'nodes',
  pins: 'enrolment',
  'join-tokens': 'enrolment',
  enrolments: 'enrolment',
  references: 'references',
  policy: 'policy',
  volumes: 'volumes',
  tokens: 'tokens',
  audit: 'audit',
  events: 'audit',
  backups: 'audit',
  authority: 'authority',
  cluster: 'cluster',
};

function tagOf({ path }: Route): keyof typeof tags {
  return tagByPart[path.split('/')[2] ?? ''] ?? 'server';
}

function json(type: string, schema: object): object {
  return { [type]: { schema } };
}
