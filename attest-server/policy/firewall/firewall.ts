/**
 * One aspect: rules, judge, doubts and advice of a firewall. `read-ruleset` makes one model of what nft and
 * iptables print (`nft-json`, `iptables-save`), `compare` tells differences, `walk` follows packets through
 * chains for openings (`opening`, `opened`), and `host-endpoint` and `marks` know Calico's.
 *
 * `owners` has the forms of rule that programs write again all the time (`owners/shipped`), and leaves out what
 * fits one (`owners/without-owned`). See `docs/firewall.md`.
 */

import type { Reference } from '../../formats/reference.ts';
import type { ProvenPart } from '../../verify/proven.ts';
import { parseFirewallPart } from '../../wire/firewall.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { Aspect, AspectJudgement, JudgedNode, PreparedAspect } from '../aspect.ts';
import { CaptureError } from '../capture-error.ts';
import { capturedReference } from '../captured-reference.ts';
import { lastExpiry } from '../last-expiry.ts';
import { keyed, remembering } from '../remembering.ts';
import { advice } from './advice.ts';
import { baselineOf, type RevokedBaseline } from './baseline.ts';
import { describeFirewall } from './describe.ts';
import { draftFirewall, observeFirewall } from './draft.ts';
import { noReference, unreadable } from './findings.ts';
import { type Baselines, judgeRules } from './judge-rules.ts';
import { capturedOf, rulesetOf, rulesetOfBaseline } from './read-ruleset.ts';
import {
  type FirewallRules,
  firewallContradictions,
  firewallDoubts,
  firewallRules,
  firewallSchema,
} from './rules.ts';
import { undoDifferences } from './undo.ts';

/** Whether the packet filter of a node is what somebody vouched for. All of it is the node's word. */
export const firewall: Aspect<'firewall', FirewallRules> = {
  name: 'firewall',
  schema: firewallSchema,
  parts: ['firewall'],
  readsHost: false,
  referenceKind: 'firewall',
  advice,
  undo: undoDifferences,
  rules: firewallRules,
  named: ({ baseline }) => baseline,
  show: ({ baseline, require, forbid, namedOwners }) => ({
    baseline,
    require: require.map(({ text }) => text),
    forbid: forbid.map(({ text }) => text),
    owners: namedOwners,
  }),
  contradictions: firewallContradictions,
  doubts: firewallDoubts,
  capture({ parts }, about): Reference {
    const bytes = parts.firewall?.bytes ?? null;
    if (bytes === null) throw new CaptureError(`${about.node} did not send the rules of its firewall`);
    return capturedReference({ kind: 'firewall', firewall: captured(bytes, about.node) }, about);
  },
  describe: describeFirewall,
  observe: observeFirewall,
  draft: draftFirewall,
  prepare(rules, { group, references, remembers }) {
    const baselines = prepared(rules, group, references, 'active');
    const revoked = prepared(rules, group, references, 'revoked');
    let known: readonly PreparedBaseline[] | null = null;
    const idle = () => {
      known ??= (['staged', 'retired'] as const).flatMap((state) =>
        prepared(rules, group, references, state),
      );
      return known;
    };
    const isRequired = group.require.includes('firewall');
    const expiredAt = lastExpiry(baselines.map(({ expires }) => expires));
    const judged = remembering(
      (digest: string, bytes: Buffer, at: number) => ({
        part: keyed([digest], { digest, bytes }),
        expiredBy: expiredAt(at),
      }),
      ({ part: { value }, expiredBy }) => {
        const active = baselines.filter(({ expires }) => expiredBy < expires);
        const isAsked = isRequired || rules.baseline !== null || active.length + idle().length > 0;
        return judgeBytes(value.bytes, value.digest, rules, { active, revoked, idle, isAsked }, group.name);
      },
      { slot: ({ part }) => part.value.digest, most: remembers ? mostRemembered : 0 },
    );
    return {
      judge({ parts: { firewall: part } }, node, at) {
        return part?.bytes == null ? unsent(part, node, isRequired) : judged(part.digest, part.bytes, at);
      },
    };
  },
};

/** Rules whose judgement is remembered, by group: nodes of a kind have the same. */
const mostRemembered = 1024;

interface PreparedBaseline extends RevokedBaseline {
  /** Milliseconds since the epoch; infinity if it does not expire. */
  readonly expires: number;
}

/** Named by the policy, or of the group: what is revoked counts there, too. One whose rules cannot be read is none. */
function prepared(
  { baseline, owners }: FirewallRules,
  group: PreparedAspect['group'],
  references: readonly Reference[],
  wanted: Reference['state'],
): readonly PreparedBaseline[] {
  return references.flatMap((reference) => {
    const { name, state, expires, firewall: rules } = reference;
    const isOfGroup = reference.group === group.name;
    const isNamed = baseline?.includes(name) ?? isOfGroup;
    if (!(isNamed || (isOfGroup && wanted === 'revoked')) || state !== wanted || rules === undefined)
      return [];
    try {
      const made = baselineOf(name, rulesetOfBaseline(rules), owners);
      const revocation = revocationOf(reference);
      return [
        { ...made, revocation, expires: expires === null ? Number.POSITIVE_INFINITY : Date.parse(expires) },
      ];
    } catch (error) {
      if (error instanceof Rejection) return [];
      throw error;
    }
  });
}

/** A file that says of itself that it is revoked says not who did that. */
function revocationOf({ changed }: Reference): string {
  if (changed?.action !== 'revoke') return 'that reference was revoked';
  return `${changed.by} revoked it on ${changed.at} (${changed.reason})`;
}

function judgeBytes(
  bytes: Buffer,
  digest: string,
  rules: FirewallRules,
  by: Baselines,
  group: string,
): AspectJudgement {
  try {
    const { findings, like, unknown, outOfForce } = judgeRules(parseFirewallPart(bytes), digest, rules, by);
    const none = by.active.length === 0 ? [noReference(group, rules.baseline, outOfForce)] : [];
    const all = [...findings, ...none];
    const isClean = all.every(({ severity = 'fail' }) => severity !== 'fail');
    const references = like === null ? [] : [like];
    return {
      findings: all,
      affirmed: like !== null && isClean,
      references,
      source: 'host',
      takesBack: { allBut: [] },
      ...(unknown !== null && { unknown }),
    };
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return {
      findings: [unreadable(error.message, 'What the node sent of its firewall cannot be read.')],
      affirmed: false,
      source: 'host',
    };
  }
}

function captured(bytes: Buffer, node: string): NonNullable<Reference['firewall']> {
  try {
    return capturedOf(rulesetOf(parseFirewallPart(bytes)));
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CaptureError(`what ${node} sent of its firewall cannot be read: ${cause.message}`, { cause });
  }
}

/** Where a node says why, that is found for all aspects at once. */
function unsent(part: ProvenPart | undefined, { unread }: JudgedNode, isRequired: boolean): AspectJudgement {
  const isSaid = unread.some(({ name }) => name === 'firewall');
  // Of what nobody asks for and the node does not show, nothing is said.
  if (isSaid || (part === undefined && !isRequired)) return nothingSaid;
  const text =
    part === undefined
      ? 'The node sent nothing of its firewall.'
      : 'The rules that the node named were not sent.';
  return { findings: [unreadable('no cause was given', text)], affirmed: false, source: 'host' };
}

const nothingSaid: AspectJudgement = { findings: [], affirmed: false, source: 'host' };
