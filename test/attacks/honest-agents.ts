import { hash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { backOff } from '../../agent/back-off.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import { type Challenge, supplementFrame } from '../../attest-server/wire/messages.ts';
import { madeInitrd, withInitrds } from '../../swtpm-fixtures/initrd.ts';
import type { Addresses } from '../bench/measured-server.ts';
import type { Machine } from '../bench/population.ts';
import { knownBoot } from './hostile-logs.ts';
import { type Entered, enter, saidBoot } from './owned-node.ts';

/** An honest node, and where it comes from. */
export interface HonestNode {
  readonly machine: Machine;
  readonly token: string | null;
  readonly from: string;
}

const boot = saidBoot(knownBoot);
/** A verdict that comes later than this is none. */
const patience = 10_000;

/** Agents that come back where they are turned away, as real ones do, and say so often that something changed. */
export class HonestAgents implements AsyncDisposable {
  readonly #ending = new AbortController();
  readonly #server: Addresses;
  readonly #everyMs: number | null;
  readonly #running: Promise<void>[] = [];
  readonly #late = Promise.withResolvers<never>();
  /** Verdicts so far, those that were not `trusted`, and connections that ended. */
  readonly counts = { verdicts: 0, wrong: 0, lost: 0 };

  /** @param everyMs from one word that something changed to the next; null: none is said */
  constructor(server: Addresses, everyMs: number | null) {
    this.#server = server;
    this.#everyMs = everyMs;
  }

  /** Resolves when each has its first verdict. @throws Error where one of them has none in two minutes */
  async connect(nodes: readonly HonestNode[]): Promise<void> {
    const late = setTimeout(() => this.#late.reject(new Error('the honest agents do not come in')), 120_000);
    await Promise.race([this.#connect(nodes), this.#late.promise]);
    clearTimeout(late);
  }

  async #connect(nodes: readonly HonestNode[]): Promise<void> {
    for (let at = 0; at < nodes.length; at += 16)
      await Promise.all(
        nodes.slice(at, at + 16).map(
          (node) =>
            new Promise<void>((resolve) => {
              this.#running.push(this.#run(node, resolve));
            }),
        ),
      );
  }

  async #run({ machine, token, from }: HonestNode, proven: () => void): Promise<void> {
    for (let failures = 0; !this.#ending.signal.aborted; failures++) {
      let saying: ReturnType<typeof setInterval> | undefined;
      let peer: Entered | null = null;
      try {
        peer = await enter(this.#server, machine, { from, token });
        const { socket } = peer;
        this.#ending.signal.addEventListener('abort', () => socket.terminate());
        for (;;) {
          peer.answer(await peer.challenge(), boot);
          const { state } = await peer.verdict();
          this.counts.verdicts += 1;
          if (state !== 'trusted') this.counts.wrong += 1;
          failures = 0;
          proven();
          if (this.#everyMs !== null)
            saying ??= setInterval(() => socket.send(changed), this.#everyMs * (0.95 + Math.random() * 0.1));
        }
      } catch {
        if (!this.#ending.signal.aborted) this.counts.lost += 1;
      }
      clearInterval(saying);
      peer?.socket.terminate();
      await sleep(backOff(failures, Math.random), null, { signal: this.#ending.signal }).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#running);
  }
}

const changed = JSON.stringify({ type: 'changed', what: 'boot' });

/** How many of the times that an honest agent came anew it was trusted, within its time. */
export interface Returns {
  readonly came: number;
  readonly trusted: number;
}

/**
 * An agent whose connection is lost again and again, as on a bad line: it comes each two seconds.
 * @param token each time another one: one that was good before is not looked at again
 */
export async function comesBack(
  server: Addresses,
  node: HonestNode,
  token: () => Promise<string | null>,
  forMs: number,
): Promise<Returns> {
  const end = performance.now() + forMs;
  let [came, trusted] = [0, 0];
  while (performance.now() < end) {
    came += 1;
    const next = sleep(2_000);
    const state = await Promise.race([
      once(server, { ...node, token: await token() }),
      sleep(patience, 'late'),
    ]);
    if (state === 'trusted') trusted += 1;
    await next;
  }
  return { came, trusted };
}

async function once(server: Addresses, { machine, token, from }: HonestNode): Promise<string> {
  try {
    const peer = await enter(server, machine, { from, token });
    peer.answer(await peer.challenge(), boot);
    const { state } = await peer.verdict();
    peer.socket.terminate();
    return state;
  } catch {
    return 'turned away';
  }
}

/** An honest node that booted an image of four MiB: how long until the server has all of it, in milliseconds; null where that is too long. */
export async function sendImage(
  server: Addresses,
  { machine, token, from }: HonestNode,
  forMs: number,
): Promise<number | null> {
  const image = madeInitrd({ init: Buffer.from('init'), 'lib/firmware': randomBytes(4 * 1024 * 1024) });
  const own = saidBoot(withInitrds(knownBoot, [image]));
  const started = performance.now();
  const ending = new AbortController();
  const send = async () => {
    for (;;) {
      const peer = await enter(server, machine, { from, token, speaks: ['parts', 'codes', 'supplements'] });
      ending.signal.addEventListener('abort', () => peer.socket.terminate());
      try {
        for (let isWhole = false; ; ) {
          const challenge = await peer.challenge();
          const message = piecesOf(image, challenge, peer);
          isWhole ||= message.supplements?.initrds.more === false;
          peer.answer(challenge, own, message);
          if (!isWhole) continue;
          await peer.verdict();
          return;
        }
      } catch {
        if (ending.signal.aborted) return;
        await sleep(1_000);
      }
    }
  };
  const sent = await Promise.race([
    send().then(
      () => true,
      () => false,
    ),
    sleep(forMs, false),
  ]);
  ending.abort();
  return sent ? Math.round(performance.now() - started) : null;
}

function piecesOf(
  image: Buffer,
  { supplements }: Challenge,
  peer: Entered,
): { readonly supplements?: { readonly initrds: { readonly more: boolean } } } {
  const asked = supplements?.initrds;
  if (asked === undefined) return {};
  const { from, most } = asked;
  const bytes = image.subarray(from, from + most);
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += limits.initrd.piece) {
    const piece = bytes.subarray(at, at + limits.initrd.piece);
    peer.send(supplementFrame('initrds', piece));
    pieces.push(hash('sha256', piece, 'hex'));
  }
  const initrds = { from, more: from + bytes.length < image.length, pieces };
  return { supplements: { initrds } };
}
