import { backOff } from '../../../agent/back-off.ts';
import { createIdentify } from '../../../attest-server/enrolment/identify.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import { createAgentTokens } from '../../../attest-server/kubernetes/agent-tokens.ts';
import type { ClusterRequest } from '../../../attest-server/kubernetes/requests.ts';
import { TokenReviews } from '../../../attest-server/kubernetes/token-reviews.ts';
import { type Hello, parseAgentMessage } from '../../../attest-server/wire/messages.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { forgedTpm } from '../forged-tpm.ts';

export interface TokenSiege {
  /** Made-up tokens a second, shown with the public keys of the node, from so many addresses in turn. */
  readonly perSecond: number;
  readonly addresses: number;
  /** Where the node last proved itself, and where its agent is now; the attackers are at `10.66.…`. */
  readonly home: string | null;
  readonly now: string;
  /** Of the attackers' addresses, this instead. */
  readonly behind?: string;
  /** Where each attacker has the keys of so many other nodes, too, and shows those in turn. */
  readonly nodes?: number;
}

const tpm = forgedTpm();
const shown = parseAgentMessage(JSON.stringify({ ...tpm.hello('node-0'), clusterToken: true })) as Hello;
const agent = {
  username: 'system:serviceaccount:assay:assay-agent',
  extra: { 'authentication.kubernetes.io/node-name': ['node-0'] },
};

/**
 * Plays it without waiting: the agent comes by the back-off of a real one, the attackers at any moment, since a minute before.
 * @returns milliseconds until the agent is in; null where it is not within an hour
 */
async function siegeOfTokens(
  { perSecond, addresses, home, now: there, behind, nodes = 1 }: TokenSiege,
  random: () => number,
): Promise<number | null> {
  let now = 0;
  const requests = {
    json: async ({ body }: ClusterRequest) =>
      Object(body).spec.token === 'its.good.token'
        ? { status: { authenticated: true, audiences: ['assay'], user: agent } }
        : { status: { authenticated: false } },
  };
  const reviews = new TokenReviews({ requests, lane: 'agents', monotonic: () => now });
  const keys = {
    akName: shown.ak?.name ?? '',
    ekPublicArea: Buffer.from(shown.ek?.publicArea ?? '', 'base64'),
  };
  const identify = createIdentify({
    store: { node: async (name) => ({ name, ...keys }) as EnrolledNode },
    lastSeen: () => (home === null ? null : { address: home, agent: '0.3.0' }),
    registry: {
      identify: async () => {
        throw new Error('in');
      },
    } as never,
    cluster: {
      nodeOfToken: createAgentTokens({ reviews, account: { namespace: 'assay', name: 'assay-agent' } }),
      wantsToken: () => true,
    },
    candidates: { note() {} },
    withoutTpm: { note: () => false },
    paths: {} as never,
    trust: () => ({}) as never,
    now: () => now,
  });
  const comes = (cluster: string, address: string, node = 'node-0') =>
    identify({ ...shown, node }, { join: null, cluster }, address).then(
      () => true,
      (error: unknown) => !(error instanceof Rejection),
    );
  const minute = 60_000;
  const firstAt = minute + random() * 1000;
  let [attacks, attackAt, failures, next] = [0, 0, 0, firstAt];
  for (;;) {
    if (attackAt <= next) {
      now = attackAt;
      const address = behind ?? `10.66.${(attacks % addresses) >> 8}.${(attacks % addresses) & 255}`;
      await comes(`made.up.${attacks}`, address, `node-${Math.floor(attacks / addresses) % nodes}`);
      attacks += 1;
      attackAt -= (Math.log(1 - random()) * 1000) / perSecond;
      continue;
    }
    now = next;
    if (now > 61 * minute) return null;
    if (await comes('its.good.token', there)) return now - firstAt;
    next = now + backOff(failures, random);
    failures += 1;
  }
}

/** The time within which nine of ten are in; null where they are not. */
export async function ninetieth(siege: TokenSiege, runs: number): Promise<number | null> {
  const random = seeded(346);
  const took: number[] = [];
  for (let run = 0; run < runs; run++)
    took.push((await siegeOfTokens(siege, random)) ?? Number.POSITIVE_INFINITY);
  const at = took.sort((a, b) => a - b)[Math.ceil(runs * 0.9) - 1] ?? 0;
  return Number.isFinite(at) ? at : null;
}

/** The same numbers each time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
