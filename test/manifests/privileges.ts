import { isNode, isPair, isScalar, isSeq, type Node, parseAllDocuments, visit } from 'yaml';
import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
  textsAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { containersOf, podOf } from './pod-security.ts';
import { titleOf } from './upgrade.ts';

/** Something that a program of the chart may and others may not. */
export interface Privilege {
  /** Containers or accounts. */
  readonly who: string;
  readonly may: string;
  /** From the comment `# why:` of the chart. */
  readonly why: string;
}

/** All privileges in a text of rendered objects. @throws Error with those of which no comment says why */
export function privilegesIn(text: string): readonly Privilege[] {
  const objects = parseAllDocuments(text, { version: '1.1' }).flatMap((document) => {
    const object: unknown = document.toJS();
    return isObject(object) && document.contents !== null
      ? [{ object, reasons: reasonsIn(document.contents) }]
      : [];
  });
  const all = objects.map(({ object }) => object);
  const unexplained: string[] = [];
  const found = objects.flatMap(({ object, reasons }) =>
    [...ofWorkload(object), ...ofRole(object, all)].map(({ who, may, places }) => {
      // A comment above the first item of a list is one above the list.
      const looked = places.flatMap((place) => [
        place,
        ...(place.endsWith('.0') ? [place.slice(0, -2)] : []),
      ]);
      const why = looked.map((place) => reasons.get(place)).find((reason) => reason !== undefined);
      if (why === undefined) unexplained.push(`${titleOf(object)}: ${who}: ${may}`);
      return { who, may, why: why ?? '' };
    }),
  );
  if (unexplained.length > 0)
    throw new Error(`no comment \`# why:\` is above these:\n${unexplained.join('\n')}`);
  return found;
}

/** A table; what is there with more values only says so. */
export function privilegeTable(usual: readonly Privilege[], all: readonly Privilege[]): string {
  const isUsual = ({ who, may }: Privilege) => usual.some((one) => one.who === who && one.may === may);
  const rows = [...usual, ...all.filter((one) => !isUsual(one))].map(
    (one) => `| ${one.who} | ${one.may} | ${one.why} | ${isUsual(one) ? 'yes' : 'no'} |`,
  );
  return ['| who | may | why | by default |', '|---|---|---|---|', ...new Set(rows)].join('\n');
}

interface Found {
  readonly who: string;
  readonly may: string;
  /** Where the comment may be, the nearest first: `spec.rules.0`. */
  readonly places: readonly string[];
}

function ofWorkload(object: JsonObject): readonly Found[] {
  const pod = podOf(object);
  if (pod === null) return [];
  const root = textAt(object, 'kind') === 'Pod' ? 'spec' : 'spec.template.spec';
  const name = textAt(object, 'metadata', 'name') ?? '';
  const everyone = `all of \`${name}\``;
  const found: Found[] = [];
  for (const key of ['hostNetwork', 'hostPID', 'hostIPC', 'automountServiceAccountToken'])
    if (pod[key] === true) found.push({ who: everyone, may: words[key] ?? key, places: [`${root}.${key}`] });
  for (const key of ['supplementalGroups', 'seLinuxOptions'])
    if (at(pod, 'securityContext', key) !== undefined)
      found.push({ who: everyone, may: words[key] ?? key, places: [`${root}.securityContext.${key}`] });
  for (const list of ['initContainers', 'containers'])
    for (const [index, container] of listAt(pod, list).entries())
      found.push(...ofContainer(container, `${root}.${list}.${index}.securityContext`, `\`${name}\``));
  for (const [index, volume] of listAt(pod, 'volumes').entries()) {
    const may = ofVolume(volume, pod);
    if (may === null) continue;
    found.push({ ...may, who: `${may.who} of \`${name}\``, places: [`${root}.volumes.${index}`] });
  }
  return found;
}

const words: Readonly<Record<string, string>> = {
  hostNetwork: 'the network of the host',
  hostPID: 'the processes of the host',
  hostIPC: 'the shared memory of the host',
  automountServiceAccountToken: 'a token for the API of the cluster',
  supplementalGroups: 'a group of the host',
  seLinuxOptions: 'a type of SELinux that may read the host',
};

function ofContainer(container: Json, place: string, of: string): readonly Found[] {
  const context = at(container, 'securityContext');
  const who = `\`${textAt(container, 'name')}\` of ${of}`;
  const found: Found[] = [];
  const ids = [
    ...(at(context, 'privileged') === true ? ['privileged'] : []),
    ...(at(context, 'runAsUser') === 0 ? ['user 0'] : []),
    ...(at(context, 'runAsGroup') === 0 ? ['group 0'] : []),
  ];
  if (ids.length > 0) found.push({ who, may: ids.join(', '), places: [place] });
  const added = textsAt(context, 'capabilities', 'add');
  if (added.length > 0)
    found.push({
      who,
      may: added.map((one) => `\`CAP_${one}\``).join(', '),
      places: [`${place}.capabilities.add`],
    });
  return found;
}

function ofVolume(volume: Json, pod: JsonObject): Pick<Found, 'who' | 'may'> | null {
  const name = textAt(volume, 'name');
  const mounts = containersOf(pod).flatMap(({ name: who, container }) =>
    listAt(container, 'volumeMounts')
      .filter((mount) => textAt(mount, 'name') === name)
      .map((mount) => ({ who: `\`${who}\``, isWritable: at(mount, 'readOnly') !== true })),
  );
  const who = [...new Set(mounts.map((mount) => mount.who))].join(', ');
  const path = textAt(volume, 'hostPath', 'path');
  if (path !== undefined)
    return {
      who,
      may: `${mounts.some(({ isWritable }) => isWritable) ? 'write' : 'read'} \`${path}\` of the host`,
    };
  const tokens = listAt(volume, 'projected', 'sources').flatMap(
    (source) => textAt(source, 'serviceAccountToken', 'audience') ?? [],
  );
  return tokens.length > 0 ? { who, may: `a token for \`${tokens.join('`, `')}\`` } : null;
}

/** What accounts of programs may; roles of people are no privileges of the chart. */
function ofRole(role: JsonObject, all: readonly JsonObject[]): readonly Found[] {
  const kind = textAt(role, 'kind') ?? '';
  if (kind !== 'Role' && kind !== 'ClusterRole') return [];
  const namespace = textAt(role, 'metadata', 'namespace');
  const bindings = all.filter(
    (one) =>
      textAt(one, 'kind') === `${kind}Binding` &&
      textAt(one, 'roleRef', 'name') === textAt(role, 'metadata', 'name') &&
      textAt(one, 'metadata', 'namespace') === namespace,
  );
  const accounts = bindings
    .flatMap((one) => listAt(one, 'subjects'))
    .filter((subject) => textAt(subject, 'kind') === 'ServiceAccount')
    .map((subject) => `\`${textAt(subject, 'name')}\``);
  if (accounts.length === 0) return [];
  return listAt(role, 'rules').map((rule, index) => {
    const group = textsAt(rule, 'apiGroups').join();
    const resources = textsAt(rule, 'resources').map((one) => (group === '' ? one : `${one}.${group}`));
    const names = textsAt(rule, 'resourceNames').map((one) => `\`${one}\``);
    const which = names.length > 0 ? ` called ${names.join(', ')}` : '';
    const where = namespace === undefined ? '' : ` in \`${namespace}\``;
    return {
      who: `account ${[...new Set(accounts)].join(', ')}`,
      may: `${textsAt(rule, 'verbs').join(', ')} \`${resources.join('`, `')}\`${which}${where}`,
      places: [`rules.${index}`],
    };
  });
}

/** The text after `# why:` by the path of what it stands above. */
function reasonsIn(document: Node): ReadonlyMap<string, string> {
  const reasons = new Map<string, string>();
  visit(document, (_, node, parents) => {
    if (!isNode(node)) return;
    const [, why] = /(?:^|\n) ?why: ([\s\S]*)$/.exec(node.commentBefore ?? '') ?? [];
    if (why !== undefined) reasons.set(pathOf(node, parents), why.replaceAll(/\s*\n\s*/g, ' ').trim());
  });
  return reasons;
}

function pathOf(node: Node, parents: readonly unknown[]): string {
  const steps = [...parents, node];
  return steps
    .flatMap((step, index): readonly (string | number)[] => {
      const parent = steps[index - 1];
      if (isPair(step)) return isScalar(step.key) ? [String(step.key.value)] : [];
      if (!isSeq(parent)) return [];
      const position = parent.items.indexOf(step);
      return position < 0 ? [] : [position];
    })
    .join('.');
}
