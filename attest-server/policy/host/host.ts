/**
 * One aspect: rules, judge, doubts and advice of what a node says of itself, such as the kernel's `taints`; see
 * `docs/host.md`.
 */

import type { Facts, HostFacts } from '../../wire/facts.ts';
import type { Aspect, AspectJudgement } from '../aspect.ts';
import type { LocatedFault } from '../file/policy-error.ts';
import { breaksPolicy, type Finding } from '../finding.ts';
import type { GroupBase } from '../group.ts';
import { type Keyed, keyed, remembering } from '../remembering.ts';
import { advice } from './advice.ts';
import { draftHost, observeHost } from './draft.ts';
import { isNotSaid, outcomesOf } from './outcomes.ts';
import { type HostRules, hostRules, hostSchema } from './rules.ts';

/**
 * A machine and its kernel as they run, by the word of the node alone: root on it can lie. What its kernel was when it
 * booted is judged by `boot`, and so is whether it may load another one (kexec).
 */
export const host: Aspect<'host', HostRules> = {
  name: 'host',
  schema: hostSchema,
  // Kept as evidence, for people: no rule needs it, and no verdict waits for it.
  parts: ['inventory', 'installed'],
  readsHost: true,
  referenceKind: null,
  advice,
  observe: observeHost,
  draft: draftHost,
  rules: hostRules,
  contradictions: () => [],
  doubts: doubtsIn,
  prepare(rules, { group, remembers }) {
    const isAsked = rules.isWritten || group.require.includes('host');
    // While their text is the same, facts are the same object.
    const known = new WeakMap<ClaimedFacts, Keyed<HostFacts>>();
    const readIn = (facts: ClaimedFacts) => {
      const read = known.get(facts) ?? keyedBy(readBy(claimsIn(facts), rules));
      known.set(facts, read);
      return read;
    };
    const judged = remembering(
      (facts: ClaimedFacts, isUnread: boolean) => ({ isUnread, said: readIn(facts) }),
      ({ isUnread, said }) => judge(said.value, rules, isAsked, isUnread),
      {
        slot: ({
          said: {
            key: [said],
          },
        }) => String(said),
        most: remembers ? mostRemembered : 0,
      },
    );
    return {
      // That the collector failed as a whole is found for all aspects at once, with its cause.
      judge: ({ facts }, { unread }) =>
        judged(
          facts ?? silent,
          unread.some(({ name }) => name === 'host'),
        ),
    };
  },
};

type ClaimedFacts = Pick<Facts, 'host' | 'unavailable'>;

const silent: ClaimedFacts = {};
const nothing: HostFacts = {};

/** The agent's collector of how a host runs; `host` is that of what it is. */
const collector = 'running';

/** The node's claims about the host. If its collector gave nothing, its cause is that of each fact that is missing. */
function claimsIn({ host: said = nothing, unavailable }: ClaimedFacts): HostFacts {
  const cause = unavailable?.[collector];
  if (cause === undefined) return said;
  return {
    ...said,
    unread: { tainted: cause, listening: cause, ssh: cause, sysctls: cause, ...said.unread },
  };
}

/** By group: machines of one kind report the same, except their ports. */
const mostRemembered = 4096;

/** Facts that no rule asks about are left out: with them each node would have a judgement of its own. */
function readBy(facts: HostFacts, rules: HostRules): HostFacts {
  const { tainted, unread, listening, ssh, kernel, lockdown, sysctls } = facts;
  const isSshJudged = rules.ssh === 'closed';
  const isLockdownJudged = rules.lockdown !== null || rules.suspectTaints.length > 0;
  return {
    tainted,
    unread,
    listening: isSshJudged ? listening : undefined,
    ssh: isSshJudged ? ssh : undefined,
    kernel: rules.minimumKernel === null ? undefined : kernel,
    lockdown: isLockdownJudged ? lockdown : undefined,
    sysctls: rules.sysctls.length === 0 || sysctls === undefined ? undefined : namedBy(rules, sysctls),
  };
}

function keyedBy(read: HostFacts): Keyed<HostFacts> {
  // The ports as one text, which is quicker than a list of them.
  const { tainted, unread, listening, ssh, kernel, lockdown, sysctls } = read;
  return keyed([JSON.stringify([tainted, unread, listening?.join(), ssh, kernel, lockdown, sysctls])], read);
}

function namedBy(
  { sysctls: rules }: HostRules,
  given: Readonly<Record<string, string>>,
): HostFacts['sysctls'] {
  return Object.fromEntries(
    Object.entries(given).filter(([name]) => rules.some((rule) => rule.name === name)),
  );
}

/**
 * @param isAsked false: nobody asks for the aspect, so that only what the node says is judged, not what it leaves out, as
 *   agents of earlier versions do
 */
function judge(facts: HostFacts, rules: HostRules, isAsked: boolean, isUnread: boolean): AspectJudgement {
  const outcomes = outcomesOf(facts, rules);
  const all = outcomes.flatMap(({ findings }) => findings);
  const tellsMissing = isAsked && !isUnread;
  return {
    findings: tellsMissing ? all : all.filter((finding) => !isNotSaid(finding)),
    affirmed: !all.some(withholds),
    source: 'host',
    takesBack: { allBut: outcomes.flatMap(({ code, isRead }) => (isRead ? [] : code)) },
  };
}

/** A finding that is a warning by itself withholds nothing. */
function withholds({ code, severity = 'fail' }: Finding): boolean {
  return isNotSaid({ code }) || breaksPolicy({ code, severity });
}

/** Rules that are written down and refuse nothing. */
function doubtsIn({ isWritten }: HostRules, { require }: GroupBase): LocatedFault[] {
  if (!isWritten || require.includes('host')) return [];
  return [{ path: ['host'], text: 'require does not name host, so this is only reported' }];
}
