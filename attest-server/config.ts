import { parse } from 'yaml';
import { z } from 'zod';
import { timings } from './protocol/limits.ts';

/** What the server needs to start; built from the file and the environment, complete and checked. */
export interface ServerConfig {
  readonly stateDir: string;
  /** Interface that agents and the API's callers reach. */
  readonly host: string;
  readonly agentPort: number;
  readonly apiPort: number;
  readonly metricsPort: number;
  /** Host names and addresses in the server's certificate. */
  readonly names: readonly string[];
  /** `observe`, `strict`, or a file; null: observe. */
  readonly policy: string | null;
  readonly logLevel: string;
  /** Whom we trust to endorse TPMs: `builtin` and folders of *.pem; empty: nobody. */
  readonly endorsementRoots: readonly string[];
  /** Absolute path of the program that tells whose TPM a machine of the cloud has; null: the cloud is not asked. */
  readonly cloudProgram: string | null;
  /** Milliseconds. */
  readonly challengeEvery: number;
  readonly answerWithin: number;
  readonly unknownAfter: number;
  /** From one row of the history to the next of a node whose verdict stays the same. */
  readonly summaryEvery: number;
  /** How long a new connection may take to say who it is. */
  readonly helloWithin: number;
  /** How long evidence is kept, and that of changes of state. */
  readonly evidenceFor: number;
  readonly transitionEvidenceFor: number;
  /** Who captured a reference may not approve it; a capture is then always staged. */
  readonly separateApprovals: boolean;
}

/** Every fault of a configuration, told at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(
      `the configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n  ${faults.join('\n  ')}`,
    );
    this.faults = faults;
  }
}

const list = z.union([
  z.array(z.string()),
  z.string().transform((text) => text.split(',').map((name) => name.trim())),
]);
const port = z.coerce.number().int().min(0).max(65535);
const seconds = z.coerce.number().positive().max(86_400);
const days = z.coerce.number().positive().max(36_500);
const schema = z.strictObject({
  stateDir: z.string().min(1).default('/var/lib/assay'),
  host: z.string().min(1).default('0.0.0.0'),
  agentPort: port.default(8443),
  apiPort: port.default(8444),
  metricsPort: port.default(9464),
  names: list
    .pipe(z.array(z.string().regex(/^[0-9A-Za-z.:-]+$/, 'a host name or an address')).min(1))
    .default(['localhost', '127.0.0.1']),
  policy: z.string().min(1).nullable().default(null),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  endorsementRoots: list
    .pipe(z.array(z.string().min(1)).min(1, 'builtin, none, or folders'))
    .refine((names) => names.length === 1 || !names.includes('none'), 'none stands alone')
    .transform((names) => names.filter((name) => name !== 'none'))
    .default(['builtin']),
  cloudProgram: z.string().regex(/^\//, 'an absolute path').nullable().default(null),
  challengeEverySeconds: seconds.default(timings.challengeEvery / 1000),
  answerWithinSeconds: seconds.default(timings.answerWithin / 1000),
  unknownAfterSeconds: seconds.default(timings.unknownAfter / 1000),
  helloWithinSeconds: seconds.default(timings.helloWithin / 1000),
  summarySeconds: seconds.default(timings.summaryEvery / 1000),
  evidenceDays: days.default(30),
  transitionEvidenceDays: days.default(400),
  approvals: z
    .strictObject({ separate: z.stringbool().or(z.boolean()).default(false) })
    .default({ separate: false }),
});

/** Key of the file -> environment variable. */
const variables = {
  stateDir: 'ASSAY_STATE_DIR',
  host: 'ASSAY_HOST',
  agentPort: 'ASSAY_AGENT_PORT',
  apiPort: 'ASSAY_API_PORT',
  metricsPort: 'ASSAY_METRICS_PORT',
  names: 'ASSAY_NAMES',
  policy: 'ASSAY_POLICY',
  logLevel: 'ASSAY_LOG_LEVEL',
  endorsementRoots: 'ASSAY_ENDORSEMENT_ROOTS',
  cloudProgram: 'ASSAY_CLOUD_PROGRAM',
  challengeEverySeconds: 'ASSAY_CHALLENGE_EVERY_SECONDS',
  answerWithinSeconds: 'ASSAY_ANSWER_WITHIN_SECONDS',
  unknownAfterSeconds: 'ASSAY_UNKNOWN_AFTER_SECONDS',
  helloWithinSeconds: 'ASSAY_HELLO_WITHIN_SECONDS',
  summarySeconds: 'ASSAY_SUMMARY_SECONDS',
  evidenceDays: 'ASSAY_EVIDENCE_DAYS',
  transitionEvidenceDays: 'ASSAY_TRANSITION_EVIDENCE_DAYS',
  'approvals.separate': 'ASSAY_APPROVALS_SEPARATE',
} as const satisfies Record<
  Exclude<keyof z.input<typeof schema>, 'approvals'> | 'approvals.separate',
  string
>;

/**
 * The environment wins over the file, flags over both.
 * @param file YAML text, or null
 * @throws ConfigError with every fault, each naming its key and its variable
 */
export function serverConfig(
  file: string | null,
  environment: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, unknown>> = {},
): ServerConfig {
  const result = schema.safeParse({ ...fileValues(file), ...fromEnvironment(environment), ...flags });
  const faults = result.success ? [] : result.error.issues.map(tell);
  if (result.success) {
    const { challengeEverySeconds, unknownAfterSeconds, evidenceDays, transitionEvidenceDays } = result.data;
    if (transitionEvidenceDays < evidenceDays)
      faults.push(
        `transitionEvidenceDays (${variables.transitionEvidenceDays}): less than evidenceDays, which holds for them too`,
      );
    if (unknownAfterSeconds < challengeEverySeconds)
      faults.push(
        `unknownAfterSeconds (${variables.unknownAfterSeconds}): less than challengeEverySeconds, so no node would stay trusted`,
      );
  }
  if (!result.success || faults.length > 0) throw new ConfigError(faults);
  const { challengeEverySeconds, answerWithinSeconds, unknownAfterSeconds, helloWithinSeconds, ...others } =
    result.data;
  const { evidenceDays, transitionEvidenceDays, summarySeconds, approvals, ...rest } = others;
  return {
    ...rest,
    challengeEvery: challengeEverySeconds * 1000,
    answerWithin: answerWithinSeconds * 1000,
    unknownAfter: unknownAfterSeconds * 1000,
    helloWithin: helloWithinSeconds * 1000,
    summaryEvery: summarySeconds * 1000,
    evidenceFor: evidenceDays * 86_400_000,
    transitionEvidenceFor: transitionEvidenceDays * 86_400_000,
    separateApprovals: approvals.separate,
  };
}

function fileValues(text: string | null): Record<string, unknown> {
  if (text === null) return {};
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    throw new ConfigError([
      `the configuration file is not YAML: ${cause instanceof Error ? cause.message : cause}`,
    ]);
  }
  const result = z.record(z.string(), z.unknown()).nullable().safeParse(value);
  if (!result.success) throw new ConfigError(['the configuration file is not a list of keys and values']);
  return result.data ?? {};
}

function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [key, variable] of Object.entries(variables)) {
    const value = environment[variable];
    if (value === undefined || value === '') continue;
    const [outer = key, inner] = key.split('.');
    values[outer] = inner === undefined ? value : { [inner]: value };
  }
  return values;
}

function tell(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return `${issue.keys.join(', ')}: no such key`;
  const key = String(issue.path[0]);
  const variable = Object.entries(variables).find(
    ([name]) => name === key || name.startsWith(`${key}.`),
  )?.[1];
  return `${key}${variable === undefined ? '' : ` (${variable})`}: ${issue.message}`;
}
