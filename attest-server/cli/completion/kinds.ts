import type { Argument, Command, Option } from 'commander';
import {
  candidateView,
  joinTokenView,
  policyView,
  referenceView,
  tokenRoles,
  tokenView,
} from '../../api/api.ts';
import { listOf } from '../../api/list.ts';
import { policyRevisionView } from '../../api/policy-api.ts';
import { volumeView } from '../../api/volume-api.ts';
import { auditActionNames } from '../../formats/audit.ts';
import { eventNames } from '../../formats/event.ts';
import { revisionOf } from '../../formats/policy-label.ts';
import { referenceKinds } from '../../formats/reference.ts';
import { reasonCodes } from '../../wire/reasons.ts';
import { nodeStates } from '../../wire/verdict.ts';
import type { Client } from '../client.ts';
import type { CliContext } from '../context.ts';
import { nodeOrders } from '../node-order.ts';
import { readNodes } from '../read-nodes.ts';
import { readContexts } from '../server-access.ts';
import { formatsOfOption } from '../tree/option.ts';

/** The kind of a value: one of these words, something that the server knows, a context, a file, or anything. */
export type ValueKind =
  | readonly string[]
  | keyof typeof atServer
  | 'contexts'
  | 'files'
  | 'nodes or files'
  | 'references or files'
  | null;

/** How long somebody who pressed Tab waits for the server, in milliseconds. */
const patience = 2_000;

const atServer = {
  nodes: async (client: Client) => (await readNodes(client)).map(({ name }) => name),
  groups: async (client: Client) =>
    (await client.get('/v1/policy', policyView)).groups.map(({ name }) => name),
  references: async (client: Client) =>
    (await client.get('/v1/references', listOf(referenceView))).items.map(({ name }) => name),
  tokens: async (client: Client) =>
    (await client.get('/v1/tokens', listOf(tokenView))).items.map(({ name }) => name),
  'join tokens': async (client: Client) =>
    (await client.get('/v1/join-tokens', listOf(joinTokenView))).items
      .filter(({ usedAt }) => usedAt === null)
      .map(({ id }) => id),
  policies: async (client: Client) =>
    (await client.get('/v1/policy/history', listOf(policyRevisionView))).items.map(({ digest }) =>
      revisionOf(digest),
    ),
  volumes: async (client: Client) => [
    ...new Set((await client.get('/v1/volumes', listOf(volumeView))).items.map(({ name }) => name)),
  ],
  candidates: async (client: Client) => [
    ...new Set((await client.get('/v1/enrolments', listOf(candidateView))).items.map(({ node }) => node)),
  ],
} as const;

/** By the command and the option; else by the option alone. */
const options: Readonly<Record<string, ValueKind>> = {
  'get nodes --reason': reasonCodes,
  'breaker hold --code': reasonCodes,
  'breaker release --code': reasonCodes,
  'reference compute --state': ['staged', 'active'],
  'reference runtime --state': ['staged', 'active'],
  'reference compute --via': ['grub', 'systemd-boot', 'firmware'],
  'expect --via': ['grub', 'systemd-boot', 'firmware'],
  'audit list --action': auditActionNames,
  'events --event': eventNames,
  '--reference': 'references',
  '--revision': 'policies',
  '--end': 'references',
  'verify --policy': 'files',
  '--state': nodeStates,
  '--wait': nodeStates,
  '--sort-by': nodeOrders,
  '--group': 'groups',
  '--node': 'nodes',
  '--from-node': 'nodes',
  '--role': tokenRoles,
  '--kind': referenceKinds,
  '--context': 'contexts',
};

/** By the command and the argument; else by the argument alone. */
const names: Readonly<Record<string, ValueKind>> = {
  'enrol approve node': 'candidates',
  'token revoke name': 'tokens',
  'join-token revoke id': 'join tokens',
  'context use name': 'contexts',
  'boot diff a': 'nodes or files',
  'boot diff b': 'nodes or files',
  'policy diff a': 'policies',
  'policy diff b': 'policies',
  'policy rollback revision': 'policies',
  'reference diff a': 'references or files',
  'reference diff b': 'references or files',
  group: 'groups',
  name: 'references',
  node: 'nodes',
  volume: 'volumes',
  file: 'files',
  bundle: 'files',
};

export function kindOfOption(command: Command, option: Option): ValueKind {
  const formats = formatsOfOption(option);
  if (formats.length > 0) return formats;
  const long = option.long ?? '';
  const found = options[`${pathOf(command)} ${long}`] ?? options[long];
  return found ?? (/<(file|dir)>/.test(option.flags) ? 'files' : null);
}

export function kindOfArgument(command: Command, argument: Argument): ValueKind {
  const name = argument.name();
  return argument.argChoices ?? names[`${pathOf(command)} ${name}`] ?? names[name] ?? null;
}

export function isFiles(kind: ValueKind): boolean {
  return typeof kind === 'string' && kind.endsWith('files');
}

/** The words of a kind, as far as they can be found out soon. */
export async function wordsOf(kind: ValueKind, context: CliContext): Promise<readonly string[]> {
  if (kind === null || kind === 'files') return [];
  if (typeof kind !== 'string') return kind;
  try {
    if (kind === 'contexts') return readContexts(context.io).contexts.map(({ name }) => name);
    const asked = kind === 'nodes or files' ? 'nodes' : kind === 'references or files' ? 'references' : kind;
    // The shell puts it into a command line: nothing that a server says may mean something there.
    return (await ask(asked, context)).filter((word) => /^\w[\w.@+/-]*$/.test(word));
  } catch {
    // No server, no token, no right: there is nothing to offer.
    return [];
  }
}

async function ask(kind: keyof typeof atServer, { server }: CliContext): Promise<readonly string[]> {
  const client = await server();
  const impatience = setTimeout(() => client.close(), patience);
  try {
    return await atServer[kind](client);
  } finally {
    clearTimeout(impatience);
  }
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent?.parent ? `${pathOf(parent)} ${command.name()}` : command.name();
}
