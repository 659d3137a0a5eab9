import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import { policyLabel } from '../formats/policy-label.ts';
import { PolicyError } from '../policy/file/policy-error.ts';
import { checkLatched, checkPolicy, parsePolicy } from '../policy/file/policy-file.ts';
import { enrolments, type Policy } from '../policy/policy.ts';
import { builtInPolicy, observePolicy } from '../policy/shipped/built-in.ts';
import type { SourcedPolicy } from './policy-history.ts';
import { isTimeout, type PolicyOutcome } from './policy-refusal.ts';
import type { DeclaredPolicy, KeptPolicy, LatchState } from './ports.ts';

/**
 * A built-in policy by its name, or a file; null is `observe`. One that a signed directory holds counts before both. What is
 * doubtful in it is logged.
 * @param methods by which nodes can enrol at this server
 * @throws PolicyError with every fault of the file
 */
export async function readPolicy(
  name: string | null,
  declared: DeclaredPolicy | null,
  methods: readonly EnrolmentMethod[],
  logger: Logger,
): Promise<Policy> {
  const source = sourceOf(name, declared);
  const builtIn = declared === null ? builtInPolicy(source) : null;
  if (builtIn !== null) return builtIn;
  const { policy, warnings } = checkPolicy(
    declared?.text ?? (await readFile(source, 'utf8')),
    source,
    methods,
  );
  for (const { line, field, text } of warnings) logger.warn({ file: source, line, field }, text);
  return policy;
}

/** The policy that a server starts with. */
interface FirstPolicy {
  readonly first: SourcedPolicy;
  /** Whether it may be another one than before: then it is to be kept. */
  readonly isNew: boolean;
  /** Why it is not the policy that was given, but the one before. */
  readonly refused: PolicyError | null;
  /** The one before is in force until the given one is compared with it. */
  readonly isUndecided: boolean;
  /** The outcome of the given one on nodes; null: it was not looked at. */
  readonly nodes: PolicyOutcome;
}

interface FirstParts {
  readonly given: SourcedPolicy;
  readonly latched: LatchState | null;
  /** By which the server judged last; null: not known. */
  readonly last: SourcedPolicy | null;
  /** @throws PolicyRefused; TimeoutError if it takes too long */
  readonly check: (before: Policy, next: SourcedPolicy) => Promise<PolicyOutcome>;
  readonly logger: Logger;
}

/**
 * A server keeps the policy that it had where the one that is given asks for less than a latched cluster may be asked for, or
 * takes the trust of too many nodes. Where none was kept, the given one counts, since no mode trusts a node without a proof
 * of its boot.
 */
export async function firstPolicy({ given, latched, last, check, logger }: FirstParts): Promise<FirstPolicy> {
  const counts = { first: given, isNew: true, refused: null, isUndecided: false, nodes: null };
  const before = latched === null ? null : policyBefore(latched.policy, logger);
  if (latched !== null)
    try {
      checkLatched(given.policy, given.source, latched.groups, before?.policy ?? null);
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      if (before !== null)
        return { ...counts, first: before, isNew: before.policy.text !== last?.policy.text, refused: error };
      for (const { line, field, text } of error.faults)
        logger.error(
          { file: error.file, line, field },
          `${text}: it is in force, since no other one was kept`,
        );
      return counts;
    }
  // A database that was restored may have one that asks for less than the latch.
  const isBelow = before !== null && before.policy.text !== last?.policy.text;
  if (last === null || isBelow) return counts;
  const stays = { ...counts, first: last, isNew: false };
  try {
    return { ...counts, nodes: await check(last.policy, given) };
  } catch (error) {
    if (error instanceof PolicyError) return { ...stays, refused: error };
    if (!isTimeout(error)) throw error;
    logger.warn(
      { policy: policyLabel(given.policy), inForce: policyLabel(last.policy) },
      'the policy before is in force until the given one is compared with it on the evidence of all nodes',
    );
    return { ...stays, isUndecided: true };
  }
}

/** How faults of it are reported, and by which it gets its name. */
export function sourceOf(name: string | null, declared: DeclaredPolicy | null): string {
  return declared?.source ?? name ?? observePolicy.name;
}

/** Null if an earlier or later program kept what this one cannot read: then nothing is known of it. */
function policyBefore(kept: KeptPolicy | null, logger: Logger): SourcedPolicy | null {
  if (kept === null) return null;
  try {
    return { policy: parsePolicy(kept.text, kept.source, enrolments), source: kept.source };
  } catch (err) {
    if (!(err instanceof PolicyError)) throw err;
    logger.error({ err }, 'the policy that was kept for the latch cannot be read by this version');
    return null;
  }
}
