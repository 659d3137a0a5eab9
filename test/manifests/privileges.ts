import { isNode, isPair, isScalar, isSeq, type Node, parseAllDocuments, visit } from 'yaml';
import {
  at,
  isList,
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

/** A table for each container and account, those of programs first; what is there by some value alone says so. */
export function privilegeTables(usual: readonly Privilege[], all: readonly Privilege[]): string {
  const isUsual = ({ who, may }: Privilege) => usual.some((one) => one.who === who && one.may === may);
  const every = [...usual, ...all.filter((one) => !isUsual(one))];
  const isAccount = (who: string) => Number(who.startsWith('Account '));
  const owners = [...new Set(every.map(({ who }) => who))].sort(
    (one, other) => isAccount(one) - isAccount(other) || (one < other ? -1 : 1),
  );
  return owners
    .map((owner) => {
      const own = every.filter(({ who }) => who === owner);
      const rows = own.map((one) => `| ${one.may} | ${one.why} | ${isUsual(one) ? 'yes' : 'no'} |`);
      return [`${owner}:`, '', '| may | why | by default |', '|---|---|---|', ...new Set(rows)].join('\n');
    })
    .join('\n\n');
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
  const everyone = `\`${name}\`, each container`;
  const found: Found[] = [];
  for (const key of ['hostNetwork', 'hostPID', 'hostIPC', 'automountServiceAccountToken'])
    if (pod[key] === true) found.push({ who: everyone, may: words[key] ?? key, places: [`${root}.${key}`] });
  for (const key of ['supplementalGroups', 'seLinuxOptions'])
    if (at(pod, 'securityContext', key) !== undefined)
      found.push({ who: everyone, may: words[key] ?? key, places: [`${root}.securityContext.${key}`] });
  for (const list of ['initContainers', 'containers'])
    for (const [index, container] of listAt(pod, list).entries())
      found.push(...ofContainer(container, `${root}.${list}.${index}.securityContext`, `\`${name}\``));
  for (const [index, volume] of listAt(pod, 'volumes').entries())
    for (const { container, may } of ofVolume(volume, pod))
      found.push({
        who: `\`${name}\`, container \`${container}\``,
        may,
        places: [`${root}.volumes.${index}`],
      });
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
  const who = `${of}, container \`${textAt(container, 'name')}\``;
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

/** What each container that mounts it may. */
function ofVolume(
  volume: Json,
  pod: JsonObject,
): readonly { readonly container: string; readonly may: string }[] {
  const name = textAt(volume, 'name');
  const path = textAt(volume, 'hostPath', 'path');
  const tokens = listAt(volume, 'projected', 'sources').flatMap(
    (source) => textAt(source, 'serviceAccountToken', 'audience') ?? [],
  );
  if (path === undefined && tokens.length === 0) return [];
  return containersOf(pod).flatMap(({ name: container, container: { volumeMounts } }) =>
    (isList(volumeMounts) ? volumeMounts : [])
      .filter((mount) => textAt(mount, 'name') === name)
      .map((mount) => {
        if (path === undefined) return { container, may: `a token for \`${tokens.join('`, `')}\`` };
        return {
          container,
          may: `${at(mount, 'readOnly') === true ? 'read' : 'write'} \`${path}\` of the host`,
        };
      }),
  );
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
      who: `Account ${[...new Set(accounts)].join(', ')}`,
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
