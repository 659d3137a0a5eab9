import { hash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import * as api from '../../../attest-server/api/api.ts';
import { backupAnswer } from '../../../attest-server/api/audit-pages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import type { Machine } from '../../bench/population.ts';
import { Random } from '../../fuzz/random.ts';
import { knownBoot, padded } from '../hostile-logs.ts';
import { enter, type SaidBoot, saidBoot } from '../owned-node.ts';
import type { Ledger, Thing } from './ledger.ts';
import type { DoomedServer } from './server.ts';

/** What each kind of node says that it booted, and whether that may make it trusted. */
type Conduct = (count: number) => { readonly boot: SaidBoot; readonly mayTrust: boolean };

const known = saidBoot(knownBoot);
const tampered = saidBoot(tamper(knownBoot, 'kernel'));

/** Each host has a kernel of its own, which operators take in and take back. */
function kernelOf(index: number): SaidBoot {
  let log = tamper(knownBoot, 'kernel');
  for (let count = 0; count <= index; count++) log = tamper(log, 'kernel');
  return saidBoot(log);
}

/** By the first word of their names. */
const conducts: Readonly<Record<string, (index: number) => Conduct>> = {
  node: () => () => ({ boot: known, mayTrust: true }),
  turn: () => () => ({ boot: known, mayTrust: true }),
  flap: () => (count) =>
    count % 2 === 0 ? { boot: known, mayTrust: true } : { boot: tampered, mayTrust: false },
  host(index) {
    const boot = kernelOf(index);
    return () => ({ boot, mayTrust: true });
  },
  // It boots again and again, by what it says; after a restart it goes on where it was.
  boots: () => (count) => {
    const resetCount = 8 + Math.floor(Date.now() / 1000 - 1_700_000_000);
    const { log, values } = count % 2 === 0 ? known : tampered;
    return {
      boot: { log: padded(log, 60_000, String(count)), values, resetCount },
      mayTrust: count % 2 === 0,
    };
  },
};

export const population = [
  ...names('node', 8),
  ...names('flap', 3),
  ...names('host', 3),
  ...names('turn', 2),
  ...names('boots', 1),
];

function names(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${kind}-${index}`);
}

export interface Siege {
  readonly server: DoomedServer;
  readonly ledger: Ledger;
  readonly machines: readonly Machine[];
  readonly policyFile: string;
  readonly seed: string;
  readonly signal: AbortSignal;
}

/** Agents, attackers and operators, until the signal; nothing that fails then is a fault. */
export async function load(siege: Siege): Promise<void> {
  await Promise.all([
    ...siege.machines.map((machine, index) => agent(siege, machine, index)),
    ...['one', 'other'].map((name) => operate(siege, new Random(`${siege.seed} ${name}`))),
  ]);
}

async function agent({ server, ledger, signal }: Siege, machine: Machine, index: number): Promise<void> {
  const { name, tpm } = machine;
  const [kind = '', number = '0'] = name.split('-');
  const conduct = conducts[kind]?.(Number(number));
  if (conduct === undefined) throw new Error(`nobody knows what ${name} does`);
  for (let count = 0; !signal.aborted; ) {
    try {
      const peer = await enter(server, machine, { from: `127.3.0.${1 + index}`, token: null });
      const end = () => peer.socket.terminate();
      signal.addEventListener('abort', end);
      try {
        const message = await peer.peek();
        if (message?.type === 'activate') {
          await peer.receive();
          peer.send(tpm.activated(message, peer.channel, peer.hello));
        }
        for (let asked = 0; asked < 4; asked++) {
          const challenge = await peer.challenge();
          const { boot, mayTrust } = conduct(count++);
          ledger.sent(name, mayTrust);
          peer.answer(challenge, boot);
          const { state, checkpoint } = await peer.verdict();
          ledger.told(name, state, checkpoint);
          if (kind === 'turn' && ledger.state(`enrolment ${name}`) === 'none')
            ledger.is(`enrolment ${name}`, 'there');
          if (kind === 'flap' || kind === 'boots') break;
          peer.send({ type: 'changed', what: 'boot' });
        }
      } finally {
        signal.removeEventListener('abort', end);
        end();
      }
    } catch {
      // Refused, or the server is gone.
    }
    await sleep(20 + (index % 7) * 10);
  }
}

/** One step after the other, as chance has it. */
async function operate(siege: Siege, random: Random): Promise<void> {
  const { signal } = siege;
  while (!signal.aborted) {
    const step = random.pick(steps);
    await step(siege, random).catch((error: unknown) => {
      // The server is gone in the middle of it: either may be.
      if (!signal.aborted && !isBroken(error)) throw error;
    });
    await sleep(random.below(30));
  }
}

const isBroken = (error: unknown) =>
  error instanceof Error && ('code' in error || /no answer|socket hang up|aborted/.test(error.message));

/** Asks for a change of one thing; the ledger knows before it is asked what it may become. */
async function change(
  { server, ledger }: Siege,
  thing: Thing,
  to: string,
  [method, path, body]: readonly [string, string, object?],
  entry: readonly [action: string, subject: string] | null,
): Promise<unknown> {
  if (ledger.isOpen(thing)) return null;
  ledger.mayBe(thing, to);
  const answer = await server.call(method, path, body);
  if (answer.status >= 500) return null;
  if (answer.status >= 400) {
    ledger.isNot(thing);
    return null;
  }
  ledger.is(thing, to);
  if (entry !== null) ledger.entry(...entry);
  return answer.body;
}

type Step = (siege: Siege, random: Random) => Promise<unknown>;

const nameOf = (random: Random) => random.word().toString(36);
const reason = 'siege';

async function makeToken(siege: Siege, random: Random): Promise<void> {
  if (siege.ledger.named('token').length > 40) return;
  const name = `t-${nameOf(random)}`;
  await change(
    siege,
    `token ${name}`,
    'reader',
    ['POST', '/v1/tokens', { name, role: 'reader' }],
    ['token.create', name],
  );
}

async function revokeToken(siege: Siege, random: Random): Promise<void> {
  const name = random.pick(siege.ledger.named('token'));
  if (name === undefined) return;
  await change(siege, `token ${name}`, 'none', ['DELETE', `/v1/tokens/${name}`], ['token.revoke', name]);
}

async function makeJoinToken({ server, ledger }: Siege, random: Random): Promise<void> {
  if (ledger.named('join-token').length > 40) return;
  const node = `new-${nameOf(random)}`;
  const { status, body } = await server.call('POST', '/v1/join-tokens', { node, ttlSeconds: 86_400 });
  if (status >= 400) return;
  const { token } = api.joinTokenAnswer.parse(body);
  const [, id = ''] = /v1\.([\w-]{12})/.exec(token) ?? [];
  ledger.is(`join-token ${id}`, node);
  ledger.entry('join-token.create', node);
}

async function revokeJoinToken(siege: Siege, random: Random): Promise<void> {
  const id = random.pick(siege.ledger.named('join-token'));
  if (id === undefined) return;
  await change(siege, `join-token ${id}`, 'none', ['DELETE', `/v1/join-tokens/${id}`], null);
}

async function pin({ server, ledger }: Siege, random: Random): Promise<void> {
  const [node, ek] = [`pinned-${random.below(1000)}`, hash('sha256', nameOf(random), 'hex')];
  const { status } = await server.call('POST', '/v1/pins', { pins: [{ node, ek }] });
  if (status < 300) ledger.acknowledged += 1;
}

async function capture(siege: Siege, random: Random): Promise<void> {
  if (siege.ledger.named('reference').length > 20) return;
  const name = `r-${nameOf(random)}`;
  const staged = random.once(2);
  const body = { node: `host-${random.below(3)}`, name, staged };
  await change(
    siege,
    `reference ${name}`,
    staged ? 'staged' : 'active',
    ['POST', '/v1/references', body],
    ['reference.capture', name],
  );
}

const after = { approve: 'active', retire: 'retired', revoke: 'revoked' } as const;
const from: Readonly<Record<keyof typeof after, readonly string[]>> = {
  approve: ['staged', 'retired'],
  retire: ['active'],
  revoke: ['active', 'staged', 'retired'],
};

function changeReference(verb: keyof typeof after): Step {
  return async (siege, random) => {
    const { ledger } = siege;
    const name = random.pick(
      from[verb].flatMap((state) => ledger.named('reference', state)).filter((each) => each !== 'model'),
    );
    if (name === undefined) return;
    const asked = ['POST', `/v1/references/${name}/${verb}`, { reason }] as const;
    await change(siege, `reference ${name}`, after[verb], asked, [`reference.${verb}`, name]);
  };
}

async function deleteReference(siege: Siege, random: Random): Promise<void> {
  const name = random.pick([
    ...siege.ledger.named('reference', 'staged'),
    ...siege.ledger.named('reference', 'retired'),
  ]);
  if (name === undefined) return;
  await change(
    siege,
    `reference ${name}`,
    'none',
    ['POST', `/v1/references/${name}/delete`, { reason }],
    ['reference.delete', name],
  );
}

async function restoreReference(siege: Siege, random: Random): Promise<void> {
  const { ledger, server } = siege;
  const name = random.pick(ledger.named('reference', 'revoked'));
  if (name === undefined) return;
  const thing = `reference ${name}` as const;
  if (ledger.isOpen(thing)) return;
  for (const state of ['active', 'staged', 'retired']) ledger.mayBe(thing, state);
  const { status, body } = await server.call('POST', `/v1/references/${name}/restore`, { reason });
  if (status >= 500) return;
  if (status >= 400) return ledger.isNot(thing);
  ledger.is(thing, z.looseObject({ state: z.string() }).parse(body).state);
  ledger.entry('reference.restore', name);
}

/** The node is none from now on, and its TPM must be approved anew. */
async function revokeNode(siege: Siege, random: Random): Promise<void> {
  const name = `turn-${random.below(2)}`;
  if (siege.ledger.state(`enrolment ${name}`) === 'none') return;
  siege.ledger.leaves(name);
  await change(
    siege,
    `enrolment ${name}`,
    'none',
    ['POST', `/v1/enrolments/${name}/revoke`, { reason }],
    ['enrol.revoke', name],
  );
  siege.ledger.forget(name);
}

/** It enrols when it next comes. */
async function approveNode({ server, ledger, machines }: Siege, random: Random): Promise<void> {
  const machine = machines.find(({ name }) => name === `turn-${random.below(2)}`);
  if (machine === undefined || ledger.state(`enrolment ${machine.name}`) !== 'none') return;
  if (ledger.isOpen(`enrolment ${machine.name}`)) return;
  ledger.mayBe(`enrolment ${machine.name}`, 'there');
  const { status } = await server.call('POST', `/v1/enrolments/${machine.name}/approve`, {
    ek: machine.tpm.ekDigest,
  });
  if (status >= 300) return;
  ledger.acknowledged += 1;
  ledger.entry('enrol.approve', machine.name);
}

/** Another text of the same rules: it is in force once the server says so, and from the next start on anyhow. */
async function loadPolicy({ server, ledger, policyFile }: Siege, random: Random): Promise<void> {
  if (ledger.isOpen('policy')) return;
  const revision = z.looseObject({ revision: z.string() });
  const text = policyText(random.below(1000));
  ledger.mayBe('policy', revisionOf(text));
  const before = await server.read('/v1/policy', revision);
  await writeFile(policyFile, text);
  server.reload();
  for (let tries = 0; tries < 50; tries++) {
    const now = await server.read('/v1/policy', revision);
    if (now.revision !== before.revision) return ledger.is('policy', now.revision);
    await sleep(10);
  }
}

/** As the server shows it: the begin of the digest of the file. */
export const revisionOf = (text: string): string => hash('sha256', text, 'hex').slice(0, 12);

export const policyText = (edition: number): string => `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: default, nodes: ["*"], mode: enforce, require: [identity, boot] }
# edition ${edition}
`;

async function rotateAuditKey({ server, ledger }: Siege): Promise<void> {
  const { status } = await server.call('POST', '/v1/audit/keys', {});
  if (status < 300) ledger.acknowledged += 1;
}

async function backUp({ server, ledger }: Siege): Promise<void> {
  const { status, body } = await server.call('POST', '/v1/backups', {});
  if (status >= 300) return;
  ledger.backup(backupAnswer.parse(body).path);
}

/** The stages of its life, one after the other. */
async function moveAuthority(siege: Siege): Promise<void> {
  const { ledger } = siege;
  const next = {
    settled: ['rotate', 'announced'],
    announced: ['finish', 'in_force'],
    in_force: ['retire', 'settled'],
  } as const;
  const stage = z.enum(['settled', 'announced', 'in_force']).safeParse(ledger.state('authority')).data;
  if (stage === undefined) return;
  const [verb, to] = next[stage];
  await change(
    siege,
    'authority',
    to,
    ['POST', `/v1/authority/${verb}`, verb === 'finish' ? { force: true } : {}],
    null,
  );
}

/** What is done most stands there most often. */
const steps: readonly [Step, ...Step[]] = [
  ...repeated(makeToken, 3),
  ...repeated(revokeToken, 2),
  ...repeated(makeJoinToken, 3),
  ...repeated(revokeJoinToken, 2),
  ...repeated(pin, 2),
  ...repeated(capture, 5),
  ...repeated(changeReference('approve'), 4),
  ...repeated(changeReference('retire'), 3),
  ...repeated(changeReference('revoke'), 2),
  ...repeated(restoreReference, 2),
  ...repeated(deleteReference, 3),
  ...repeated(revokeNode, 2),
  ...repeated(approveNode, 3),
  ...repeated(loadPolicy, 2),
  rotateAuditKey,
  backUp,
  ...repeated(moveAuthority, 2),
] as unknown as [Step, ...Step[]];

function repeated(step: Step, times: number): Step[] {
  return Array.from({ length: times }, () => step);
}
