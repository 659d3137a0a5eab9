import { z } from 'zod';
import type { ProblemCode } from '../../attest-server/api/problem.ts';
import { openApi } from '../../attest-server/http/openapi.ts';
import { bodyBytes } from '../../attest-server/http/route.ts';
import { routes } from '../../attest-server/http/routes.ts';
import type { ReasonCode } from '../../attest-server/wire/reasons.ts';

const operation = z.object({
  operationId: z.string(),
  tags: z.tuple([z.string()]),
  summary: z.string(),
  'x-assay-role': z.string(),
  parameters: z.array(z.object({ in: z.string().optional(), name: z.string().optional() })).default([]),
  requestBody: z.object({ description: z.string() }).optional(),
});
const description = z.object({
  tags: z.array(z.object({ name: z.string(), description: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), operation)),
});

/** Codes of problems that are no reason codes. */
const meanings: Readonly<Record<Exclude<ProblemCode, ReasonCode>, string>> = {
  bad_request: 'the request itself is wrong: its target, or how its path is encoded',
  invalid_field: 'a member of the body or of the query is wrong, or there twice; `field` names it',
  invalid_policy: 'the policy that was sent has faults',
  unknown_path: 'there is no such path: it is mistyped, or of a newer version',
  not_found: 'the path is right, and what it names is not there',
  method_not_allowed: 'the path has no such method',
  conflict: 'the present state does not allow it',
  unsupported_media_type: 'the body is not `application/json`',
  busy: 'others are asking: try again after `Retry-After` seconds',
  audit_key_not_copied: 'an irrevocable step needs proof that the audit key is kept elsewhere, too',
  cluster_failed: 'the API of the cluster gave no answer, or refused',
  internal_error: 'a fault of the server',
};

/** docs/reference-api.md, of the description that the server gives of itself. */
export function apiPage(): string {
  const { tags, paths } = description.parse(openApi(routes));
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, its]) => ({ path, method: method.toUpperCase(), ...its })),
  );
  const sections = tags.flatMap(({ name, description: text }) => [
    `## ${name[0]?.toUpperCase()}${name.slice(1)}`,
    `${text}.`,
    table(all.filter((each) => each.tags[0] === name)),
  ]);
  return `${[head, ...sections, '## Problems', problems()].join('\n\n')}\n`;
}

const head = `# API reference

Each request that the server answers. This page is written by a program: see [CONTRIBUTING.md](../CONTRIBUTING.md#generated-files).

The API is HTTPS on port 8444, with \`Authorization: Bearer TOKEN\`. \`/openapi.json\` describes every path, parameter, body and answer (OpenAPI
3.1). It needs no credentials, and you can generate a client from it.

\`\`\`sh
curl --cacert ca.crt https://localhost:8444/openapi.json
curl --cacert ca.crt --oauth2-bearer "$(cat alice.token)" https://localhost:8444/v1/nodes
\`\`\`

- **Errors** are \`application/problem+json\` (RFC 9457) with a \`code\` from [a closed list](#problems), what to do (\`next\`) and, where a parameter
  or a member of the body is wrong or there twice, its \`field\`.
- **Answers to reads** have an \`ETag\`. Send it back as \`If-None-Match\`, and you get 304 without a body while nothing has changed.
- **Bodies** have a largest size: ${bodyBytes / 1024} KiB, unless the table says otherwise. A larger one is answered with 413.
- **With 429**, \`Retry-After\` says when to try again.
- **The API does not ask**: what [the command line asks about first](reference-commands.md#commands-that-ask), it simply does.

## Roles

| role | may |
|---|---|
| \`reader\` | read all but tokens |
| \`operator\` | also capture and change references; try policies; pin; make, list and revoke join tokens; decide on enrolment; make a node prove itself now |
| \`admin\` | also make and revoke tokens; copy the database; replace the audit key and the authority; resolve a rollback of the audit log; go back to an earlier policy, and allow one that makes many nodes untrusted |

On its first start the server makes two token files, \`admin.token\` and \`reader.token\`. They are for the first minutes. After that, make a named
token for each person and program (\`assay token create\`), so that the audit log says who acted. In a cluster [its accounts have
roles, too](kubernetes.md#people-and-programs).`;

function table(its: readonly (z.infer<typeof operation> & { path: string; method: string })[]): string {
  const rows = its.map((each) => {
    const query = each.parameters.flatMap(({ in: where, name }) =>
      where === 'query' ? [`\`${name}\``] : [],
    );
    const bytes = Number(/\d+/.exec(each.requestBody?.description ?? '')?.[0] ?? bodyBytes);
    const size = bytes === bodyBytes ? '' : `. The body has at most ${bytes / 1024} KiB`;
    const cells = [
      `\`${each.method} ${each.path}\``,
      each['x-assay-role'],
      `\`${each.operationId}\``,
      `${each.summary.replaceAll('|', '\\|')}${size}`,
      query.join(', '),
    ];
    return `| ${cells.join(' | ')} |`.replace('|  |', '| |');
  });
  return ['| request | role | operation | does | query |', '|---|---|---|---|---|', ...rows].join('\n');
}

function problems(): string {
  const rows = Object.entries(meanings).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return [
    'A problem has one of these codes, or a [reason code](troubleshooting.md).',
    '',
    '| code | meaning |',
    '|---|---|',
    ...rows,
  ].join('\n');
}
