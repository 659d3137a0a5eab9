import { z } from 'zod';

/** As much of OpenAPI as a program reads that makes a client. */
const reference = z.object({ $ref: z.string() });
const content = z.record(z.string(), z.object({ schema: reference }));
const response = z.object({ description: z.string(), content: content.optional() });
const parameter = z.object({
  name: z.string(),
  in: z.enum(['path', 'query', 'header']),
  required: z.boolean().default(false),
  schema: z.looseObject({}),
});
const operation = z.object({
  operationId: z.string(),
  tags: z.array(z.string()).length(1),
  parameters: z.array(z.union([reference, parameter])).default([]),
  requestBody: z.object({ description: z.string(), content }).optional(),
  responses: z.record(z.string(), z.union([reference, response])),
});
const description = z.object({
  openapi: z.string(),
  servers: z.array(z.object({ url: z.literal('/') })).min(1),
  tags: z.array(z.object({ name: z.string(), description: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), operation)),
  components: z.object({
    schemas: z.record(z.string(), z.looseObject({})),
    responses: z.record(z.string(), response),
    parameters: z.record(z.string(), parameter),
  }),
});

type Reference = z.infer<typeof reference>;
type Operation = z.infer<typeof operation> & { readonly path: string; readonly method: string };

/** The API as `/openapi.json` has it, and what a generator of clients makes of that alone. */
export function readDescription(document: unknown) {
  const { paths, components, tags } = description.parse(document);
  const operations: readonly Operation[] = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => ({ path, method, ...described })),
  );
  const last = ({ $ref }: Reference) => $ref.split('/').at(-1) ?? '';
  return {
    operations,
    components,
    tags,
    /** What zod makes of the description alone: the other way round than the server made it. */
    schemaOf({ $ref }: Reference) {
      const all: { $defs: z.core.JSONSchema.BaseSchema } = JSON.parse(
        JSON.stringify({ $defs: components.schemas }).replaceAll('#/components/schemas/', '#/$defs/'),
      );
      return z.fromJSONSchema({
        $ref: $ref.replace('#/components/schemas/', '#/$defs/'),
        $defs: all.$defs as Record<string, z.core.JSONSchema.JSONSchema>,
      });
    },
    responseOf: (given: Reference | z.infer<typeof response>) =>
      '$ref' in given ? components.responses[last(given)] : given,
    /** Where to put these values, as the description says of each. @throws Error for one that is not described */
    requestOf({ path, parameters }: Operation, values: Readonly<Record<string, string>>) {
      const known = parameters.map((each) => ('$ref' in each ? components.parameters[last(each)] : each));
      const query = new URLSearchParams();
      const headers: Record<string, string> = {};
      for (const [name, value] of Object.entries(values)) {
        const found = known.find((each) => each?.name === name);
        z.fromJSONSchema({ ...found?.schema }).parse(value);
        if (found?.in === 'query') query.set(name, value);
        else if (found?.in === 'header') headers[name] = value;
        else throw new Error(`${name} is no parameter of ${path}`);
      }
      return { path: `${path}?${query}`, headers };
    },
  };
}
