import { hash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { atOnce } from '../../attest-server/formats/in-steps.ts';
import type { Reference, ReferenceKind } from '../../attest-server/formats/reference.ts';
import { captureReferencesInSteps } from '../../attest-server/policy/capture.ts';
import type { Policy } from '../../attest-server/policy/policy.ts';
import { strictPolicy } from '../../attest-server/policy/shipped/built-in.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import { verify } from '../../attest-server/verify/verify.ts';
import { qualifyingData } from '../../attest-server/wire/binding.ts';
import type { NodeState, Reason } from '../../attest-server/wire/verdict.ts';
import { verdictOn } from '../attest-server/policy/made-proof.ts';
import { partOf } from '../attest-server/verify/made-by-hand.ts';
import { akOf, madeQuote } from '../attest-server/verify/made-quote.ts';
import { softwareKey } from '../attest-server/verify/software-key.ts';
import { diskPartOfFolder } from './disk-folder.ts';
import { firewallPartOfFolder } from './firewall-folder.ts';

/** What a folder can be recorded of: the file without which it says nothing, and how it is read. */
const readers = {
  disk: { needs: 'mountinfo.txt', read: diskPartOfFolder },
  firewall: { needs: 'nft.json', read: firewallPartOfFolder },
} as const;
export type Recorded = keyof typeof readers;
export const recordedKinds: readonly Recorded[] = ['disk', 'firewall'];

export interface JudgedFolder {
  readonly state: NodeState;
  /** Of the aspect alone. */
  readonly reasons: readonly Reason[];
}

/**
 * Judges what was recorded of a node by the policy `strict`, of which it must keep the one aspect.
 * @param baseline a folder of the same kind, which becomes the reference; null: there is none
 * @throws where a folder cannot be read, or is no model
 */
export async function judgeFolder(
  kind: Recorded,
  folder: string,
  baseline: string | null,
): Promise<JudgedFolder> {
  const references = baseline === null ? [] : captured(kind, await provenFolder(kind, baseline));
  return judgedAlone(kind, await provenFolder(kind, folder), references);
}

/** By the policy `strict`, of which it must keep the one aspect. */
export function judgedAlone(
  kind: ReferenceKind,
  proven: Proven,
  references: readonly Reference[],
): JudgedFolder {
  const verdict = verdictOn(proven, policyFor(kind), { name: node }, references, at);
  return { state: verdict.state, reasons: verdict.reasons.filter(({ aspect }) => aspect === kind) };
}

/** Active references. @throws CaptureError or Rejection where this is no model */
export function captured(kind: ReferenceKind, proven: Proven): readonly Reference[] {
  const [group] = policyFor(kind).groups;
  if (group === undefined) throw new Error('strict has no group');
  const about = { name: 'baseline', state: 'active', by: 'recorded', at, only: null } as const;
  return atOnce(captureReferencesInSteps(kind, [{ node, proven }], group, about));
}

const node = 'recorded';
const at = Date.parse('2026-11-25T12:00:00Z');

function policyFor(kind: ReferenceKind): Policy {
  return { ...strictPolicy, groups: strictPolicy.groups.map((group) => ({ ...group, require: [kind] })) };
}

/** The node's word, which a quote signs, as in each answer over a connection. */
export async function provenFolder(kind: Recorded, folder: string): Promise<Proven> {
  const { needs, read } = readers[kind];
  await access(join(folder, needs)).catch((cause: unknown) => {
    throw new Error(`${join(folder, needs)} cannot be read: is that a folder with a recorded ${kind}?`, {
      cause,
    });
  });
  const part = partOf(Buffer.from(JSON.stringify(await read(folder))));
  const helloDigest = hash('sha256', 'hello');
  const session = { purpose: 'attest', node, helloDigest } as const;
  const facts = JSON.stringify({
    ...session,
    bootId: '00000000-0000-4000-8000-000000000000',
    parts: { [kind]: part.digest },
  });
  const [nonce, channel, absent] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2), Buffer.alloc(0)];
  const signed = qualifyingData({
    nonce,
    channel,
    facts: Buffer.from(hash('sha256', facts), 'hex'),
    bootLog: absent,
    keyRequest: absent,
  });
  const key = softwareKey('p256');
  return verify(
    { quotes: [madeQuote(key, Buffer.from(signed, 'hex'))], facts, parts: { [kind]: part } },
    {
      ak: akOf(key),
      ekDigest: null,
      judgeHierarchy: true,
      binding: { nonce, channel, claimedChannel: channel, session },
      selection: null,
    },
  );
}
