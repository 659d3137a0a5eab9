import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Challenge } from '../../attest-server/wire/messages.ts';
import { binaryFrame, supplementFrame } from '../../attest-server/wire/messages.ts';
import { type Role, roleNames } from '../../attest-server/wire/roles.ts';
import { withInitrds } from '../../swtpm-fixtures/initrd.ts';
import type { Addresses } from '../bench/measured-server.ts';
import type { Machine } from '../bench/population.ts';
import type { Tallies } from './attack.ts';
import { digestOf, knownBoot, ofImageLoads, padded, strangeBoot } from './hostile-logs.ts';
import { type Entered, enter, type SaidBoot, saidBoot } from './owned-node.ts';
import { frameOf, visit } from './stranger.ts';

/** One enrolled node, whose root is the attacker. */
export interface OwnedMachine {
  readonly server: Addresses;
  readonly machine: Machine;
  readonly token: string | null;
  /** Which of the attacker's nodes it is. */
  readonly index: number;
  /** Public halves of the keys of others, and their names: anybody can copy such a hello. */
  readonly victims: readonly Readonly<Record<string, unknown>>[];
  readonly tallies: Tallies;
  /** By performance.now(); it comes nearer once all that is wanted was done. */
  readonly end: number;
}

/** What an attacker can do with one node: until the time is over, and whatever the server says to it. */
export const enrolledPrograms = {
  boots,
  'dear-log': dearLog,
  'many-addresses': manyAddresses,
  'refused-answers': refusedAnswers,
  'cluster-tokens': clusterTokens,
  'initrd-places': initrdPlaces,
  flaps,
  'open-parts': openParts,
  mixed,
} as const satisfies Readonly<Record<string, (owned: OwnedMachine) => Promise<void>>>;

export type EnrolledProgram = keyof typeof enrolledPrograms;
export const enrolledProgramNames = Object.keys(enrolledPrograms) as EnrolledProgram[];

/** All at once. */
async function mixed(owned: OwnedMachine): Promise<void> {
  await Promise.all(
    Object.values(enrolledPrograms)
      .filter((program) => program !== mixed)
      .map((program) => program(owned)),
  );
}

const mib = 1024 * 1024;
/** Nearly all of a boot log's bytes. */
const padding = 2 * mib - 128 * 1024;
const logsOfBoot = 8;

/** It boots again and again, by what its TPM says, and shows eight new logs of each boot; every second one turns its verdict. */
async function boots(owned: OwnedMachine): Promise<void> {
  const [known, strange] = [saidBoot(knownBoot), saidBoot(strangeBoot(owned.machine.name))];
  await again(owned, async (count) => {
    const { log, values } = count % 2 === 0 ? known : strange;
    const resetCount = 8 + Math.floor(count / logsOfBoot);
    const boot = { log: padded(log, padding, `${owned.machine.name} ${count}`), values, resetCount };
    await asked(owned, { from: addressOf(owned) }, boot, 'boots');
  });
}

/**
 * It sends the longest log once; then it names that in small answers, each on a connection of its own, and what its TPM quotes is
 * each time something else: what does not lead there is not remembered.
 */
async function dearLog(owned: OwnedMachine): Promise<void> {
  const boot = saidBoot(ofImageLoads(owned.machine.name));
  await again(owned, () => {
    const values = Buffer.from(boot.values);
    randomBytes(32).copy(values, 4 * 32);
    return asked(owned, { from: addressOf(owned, 20) }, { ...boot, values }, 'dear logs');
  });
}

/** An ordinary answer on each new connection, from sixteen addresses at a time. */
async function manyAddresses(owned: OwnedMachine): Promise<void> {
  const boot = saidBoot(knownBoot);
  await Promise.all(
    Array.from({ length: 16 }, (_, at) =>
      again(owned, () => asked(owned, { from: addressOf(owned, 21 + at) }, boot, 'from many addresses')),
    ),
  );
}

/** The quote holds, and the log of each is another one that does not lead to it: nothing is remembered of a refused one. */
async function refusedAnswers(owned: OwnedMachine): Promise<void> {
  const log = ofImageLoads(`${owned.machine.name} refused`, 8_000);
  await again(owned, async (count) => {
    const boot = { log: padded(log, 64, String(count)), values: randomBytes(24 * 32), resetCount: 7 };
    await asked(owned, { from: addressOf(owned, 40) }, boot, 'to be refused');
  });
}

/** Hellos with public keys of another node, with what looks like a token of its cluster, from sixteen addresses that have proven nothing. */
async function clusterTokens(owned: OwnedMachine): Promise<void> {
  const { server, victims, index, tallies } = owned;
  const head = Buffer.from('{"alg":"RS256","kid":"x"}').toString('base64url');
  for (let count = 0; performance.now() < owned.end; count++) {
    const victim = victims[0];
    if (victim === undefined) return;
    const token = `${head}.${randomBytes(200).toString('base64url')}.${randomBytes(256).toString('base64url')}`;
    const frames = [
      frameOf(JSON.stringify({ ...victim, clusterToken: true })),
      frameOf(binaryFrame('clusterToken', Buffer.from(token))),
    ];
    const from = `127.0.${60 + index}.${1 + (count % 16)}`;
    tallies.add('cluster tokens');
    void visit(
      { host: '127.0.0.1', port: server.port, ca: server.ca, from, aim: 'hello', frames, stays: 3_000 },
      tallies,
    );
    await sleep(1000 / 44);
  }
}

/** It booted images that nobody has, and sends one byte of them in each answer. */
async function initrdPlaces(owned: OwnedMachine): Promise<void> {
  const images = Array.from({ length: 2 }, (_, at) => Buffer.from(`${owned.machine.name} image ${at}`));
  const boot = saidBoot(withInitrds(knownBoot, images));
  await again(owned, async () => {
    await using peer = await come(owned, {
      from: addressOf(owned, 41),
      speaks: ['parts', 'codes', 'supplements'],
    });
    for (;;) {
      const challenge = await within(owned, peer.challenge());
      peer.answer(challenge, boot, oneByteOf(challenge, peer));
      if (challenge.supplements?.initrds !== undefined) owned.tallies.add('bytes of initrds');
    }
  });
}

function oneByteOf({ supplements }: Challenge, peer: Entered): object {
  const asked = supplements?.initrds;
  if (asked === undefined) return {};
  const piece = Buffer.of(asked.from & 0xff);
  peer.send(supplementFrame('initrds', piece));
  return { supplements: { initrds: { from: asked.from, more: true, pieces: [digestOf(piece)] } } };
}

/** Its verdict turns with each answer; every second one quotes what no log leads to, which is said of each PCR. */
async function flaps(owned: OwnedMachine): Promise<void> {
  const known = saidBoot(knownBoot);
  await again(owned, async (count) => {
    const boot = count % 2 === 0 ? known : { ...known, values: randomBytes(24 * 32) };
    await asked(owned, { from: addressOf(owned, 42) }, boot, 'flaps');
  });
}

/** In each of its roles it sends parts for a challenge, and never the message that names them. */
async function openParts(owned: OwnedMachine): Promise<void> {
  const boot = saidBoot(knownBoot);
  const parts = Array.from({ length: 3 }, () => randomBytes(2 * mib - 1024));
  const hold = (role: Role) =>
    again(owned, async () => {
      await using peer = await come(owned, { from: addressOf(owned, 43), role, speaks: ['parts', 'codes'] });
      peer.answer(await within(owned, peer.challenge()), boot);
      await within(owned, peer.verdict());
      if (role === 'agent') peer.send({ type: 'changed', what: 'boot' });
      // A challenge to the other roles comes by itself.
      await within(owned, peer.challenge());
      for (const part of parts) peer.send(binaryFrame('part', part));
      owned.tallies.add('challenges with open parts');
      while (performance.now() < owned.end && peer.socket.readyState === peer.socket.OPEN) await sleep(100);
    });
  await Promise.all(roleNames.map(hold));
}

/** An answer on a connection of its own, and what came of it. */
async function asked(owned: OwnedMachine, how: Way, boot: SaidBoot, what: string): Promise<void> {
  await using peer = await come(owned, how);
  const challenge = await within(owned, peer.challenge());
  owned.tallies.add(what);
  peer.answer(challenge, boot);
  const { codes } = await within(owned, peer.verdict());
  owned.tallies.add(`${what}: verdicts`);
  owned.tallies.atMost(`${what}: codes at most`, codes.length);
}

interface Way {
  readonly from: string;
  readonly role?: Role;
  readonly speaks?: readonly string[];
}

async function come({ server, machine, token }: OwnedMachine, how: Way): Promise<Entered & AsyncDisposable> {
  const peer = await enter(server, machine, { ...how, token });
  return {
    ...peer,
    async [Symbol.asyncDispose]() {
      peer.socket.terminate();
    },
  };
}

/** Nobody waits longer than the attack lasts, or for an answer that does not come. */
async function within<T>({ end }: OwnedMachine, answer: Promise<T>): Promise<T> {
  const ending = new AbortController();
  const most = Math.min(20_000, Math.max(0, end - performance.now()));
  const late = sleep(most, null, { signal: ending.signal }).then(() => {
    throw new Error('no answer in time');
  });
  late.catch(() => {});
  try {
    return await Promise.race([answer, late]);
  } finally {
    ending.abort();
  }
}

/** One after the other; who is turned away comes again. */
async function again(owned: OwnedMachine, work: (count: number) => Promise<void>): Promise<void> {
  for (let count = 0; performance.now() < owned.end; count++)
    await work(count).catch(async () => {
      if (performance.now() >= owned.end) return;
      owned.tallies.add('turned away');
      await sleep(5);
    });
}

/** Each node has a network of its own. */
const addressOf = ({ index }: OwnedMachine, host = 1): string => `127.1.${1 + index}.${host}`;
