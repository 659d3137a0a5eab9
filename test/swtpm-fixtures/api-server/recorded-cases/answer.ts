import {
  at,
  isEqual,
  isList,
  isObject,
  type Json,
  textAt,
} from '../../../../swtpm-fixtures/api-server/json.ts';

/** An answer, real or ours. The body of a watch is the list of its events. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json;
}

export const comparedMembers = [
  'code',
  'reason',
  'causes',
  'kind',
  'spec',
  'data',
  'status',
  'labels',
  'finalizers',
  'items',
  'events',
  'warnings',
  'retry-after',
] as const;

export type Member = (typeof comparedMembers)[number];

/** In which members two answers to one request differ. Texts, versions, times and identities are nobody's promise. */
export function differences(real: Answer, ours: Answer): readonly Member[] {
  return comparedMembers.filter((member) => !isEqual(memberOf(member, real), memberOf(member, ours)));
}

export function memberOf(member: Member, { status, headers, body }: Answer): Json {
  const found = (...path: readonly string[]) => plain(at(body, ...path) ?? null);
  switch (member) {
    case 'code':
      return status;
    case 'reason':
    case 'kind':
    case 'spec':
    case 'data':
      return found(member);
    case 'status':
      // The word of a Status follows from its code.
      return typeof at(body, 'status') === 'string' ? null : found('status');
    case 'causes': {
      const causes = at(body, 'details', 'causes');
      // The real one checks some fields twice, and then names them twice.
      return isList(causes) ? [...new Set(causes.map((cause) => textAt(cause, 'field') ?? ''))].sort() : null;
    }
    case 'labels':
    case 'finalizers':
      return found('metadata', member);
    case 'items': {
      const items = at(body, 'items');
      // What the server itself thought of after `generateName` is another one each time.
      const nameOf = (item: Json) =>
        `${textAt(item, 'metadata', 'generateName') ?? textAt(item, 'metadata', 'name')}`;
      return isList(items) ? items.map(nameOf) : null;
    }
    case 'events':
      return isList(body) ? body.map((event) => textAt(event, 'type') ?? '') : null;
    case 'warnings':
      // Each begins with its code, that of the HTTP header: RFC 9111, 5.5.
      return [...(headers.warning ?? '').matchAll(/(^|, )299 - "/g)].length;
    case 'retry-after':
      return headers['retry-after'] ?? null;
  }
}

const unique: readonly string[] = ['uid', 'resourceVersion', 'token', 'managedFields'];

/** Without what no two servers have alike, and its members in one order. */
function plain(value: Json): Json {
  if (isList(value)) return value.map(plain);
  if (isObject(value)) {
    const members = Object.entries(value).filter(([name]) => !unique.includes(name));
    const sorted = members.sort(([one], [other]) => (one < other ? -1 : 1));
    return Object.fromEntries(sorted.map(([name, member]) => [name, plain(member)]));
  }
  if (typeof value !== 'string') return value;
  return value
    .replace(/x{1000,}/g, (run) => `x repeated ${run.length} times`)
    .replace(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UID')
    .replace(/\b2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME');
}
