import { LRUCache } from 'lru-cache';
import { run, ToolError } from 'node-tpm2/run';
import { z } from 'zod';
import { jsonOrNothing } from '../wire/parse-json.ts';
import { Rejection } from '../wire/rejection.ts';
import type { EkOfMachine } from './cluster.ts';

export interface CloudProgramParts {
  /** Absolute path. Its one argument is the providerID; it writes `{"ek":"<hex>"}`, or exits with 3: not known. */
  readonly program: string;
  /** Added to the few variables that every program gets. */
  readonly environment: Readonly<Record<string, string>>;
  /** Milliseconds, of any clock that goes forward. */
  readonly now: () => number;
  /** Called once for each run that gave no answer. */
  readonly fault: (error: unknown) => void;
  readonly timeoutMs?: number;
}

const outputBytes = 4096;
const notKnown = 3;
const atOnce = 4;
const remembered = 1024;
/** Anybody may claim a node's name: one machine is asked for at most once in this time. */
const quietMs = 60_000;

const answerSchema = z.object({ ek: z.string().regex(/^[0-9a-f]{64}$/) });
/** `<cloud>://<id>`: never read as an option, nothing that a terminal or a log could trip over. */
const providerIdPattern = /^[A-Za-z0-9][\x21-\x7e]{0,1023}$/;

/** Asks the operator's program whose TPM a machine has (enrolment `cloud`). */
export function createCloudProgram(parts: CloudProgramParts): EkOfMachine {
  const { now, fault } = parts;
  const asked = new LRUCache<string, { readonly at: number; readonly answer: Promise<string | null> }>({
    max: remembered,
  });
  let running = 0;
  return async (providerId) => {
    const before = asked.peek(providerId);
    if (before !== undefined && now() < before.at + quietMs) return before.answer;
    if (running >= atOnce)
      throw new Rejection('enrolment_pending', 'the cloud program is busy with other nodes: come again');
    running += 1;
    const answer = ask(parts, providerId)
      .catch((error: unknown) => {
        fault(error);
        throw new Rejection('enrolment_pending', 'the cloud program gave no answer: see the log', {
          cause: error,
        });
      })
      .finally(() => {
        running -= 1;
      });
    asked.set(providerId, { at: now(), answer });
    return answer;
  };
}

async function ask(
  { program, environment, timeoutMs = 10_000 }: CloudProgramParts,
  id: string,
): Promise<string | null> {
  if (!providerIdPattern.test(id))
    throw new Error(
      `the cloud program ${program} is not asked, because this is not a providerID: ${show(id)}`,
    );
  let text: string;
  try {
    text = (
      await run(program, [id], { timeoutMs, maxOutputBytes: outputBytes, env: environment })
    ).stdout.toString('utf8');
  } catch (error) {
    if (error instanceof ToolError && error.code === 'failed' && error.exitCode === notKnown) return null;
    throw error;
  }
  const answer = answerSchema.safeParse(jsonOrNothing(text));
  if (answer.success) return answer.data.ek;
  throw new Error(`the cloud program ${program} wrote no {"ek":"<64 hex digits>"} for ${id}`);
}

function show(id: string): string {
  return JSON.stringify(id.slice(0, 64));
}
