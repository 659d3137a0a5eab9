import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { PolicyError } from '../policy/file/policy-error.ts';
import { checkLatched, checkPolicy, parsePolicy } from '../policy/file/policy-file.ts';
import { enrolments, type Policy } from '../policy/policy.ts';
import { builtInPolicy, observePolicy } from '../policy/shipped/built-in.ts';
import type { Bound } from '../protocol/enrolment-method.ts';
import type { DeclaredPolicy, KeptPolicy, Latched } from './ports.ts';

/**
 * A built-in policy by its name, or a file; null is `observe`. One that a signed directory holds counts before both. What is
 * doubtful in it is logged.
 * @param methods by which nodes can enrol at this server
 * @throws PolicyError with every fault of the file
 */
export async function readPolicy(
  name: string | null,
  declared: DeclaredPolicy | null,
  methods: readonly Bound[],
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

/** What a server starts with: `refused` says why that is not the policy it was given, but the one it had. */
interface FirstPolicy {
  readonly policy: Policy;
  readonly refused: PolicyError | null;
}

/**
 * A latched cluster keeps the policy that it had where the one that is given asks for less. Where none was kept, the
 * given one counts, since no mode trusts a node without a proof of its boot.
 * @throws PolicyError with every fault of the file
 */
export async function firstPolicy(
  name: string | null,
  declared: DeclaredPolicy | null,
  methods: readonly Bound[],
  latched: Latched | null,
  logger: Logger,
): Promise<FirstPolicy> {
  const given = await readPolicy(name, declared, methods, logger);
  const before = policyBefore(latched?.policy ?? null, logger);
  try {
    if (latched !== null) checkLatched(given, sourceOf(name, declared), latched.groups, before);
    return { policy: given, refused: null };
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    if (before !== null) return { policy: before, refused: error };
    for (const { line, field, text } of error.faults)
      logger.error({ file: error.file, line, field }, `${text}: it is in force, since no other one was kept`);
    return { policy: given, refused: null };
  }
}

/** How faults of it are told, and by which it gets its name. */
export function sourceOf(name: string | null, declared: DeclaredPolicy | null): string {
  return declared?.source ?? name ?? observePolicy.name;
}

/** Null where an earlier or later program kept what this one cannot read: then nothing is known of it. */
function policyBefore(kept: KeptPolicy | null, logger: Logger): Policy | null {
  if (kept === null) return null;
  try {
    return parsePolicy(kept.text, kept.source, enrolments);
  } catch (err) {
    if (!(err instanceof PolicyError)) throw err;
    logger.error({ err }, 'the policy that was kept for the latch cannot be read by this version');
    return null;
  }
}
