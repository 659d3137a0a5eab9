import { resolve } from 'node:path';
import { PolicyError, type PolicyFault } from '../../../policy/file/policy-error.ts';
import { type CheckedPolicy, checkPolicy } from '../../../policy/file/policy-file.ts';
import { enrolments, type Policy } from '../../../policy/policy.ts';
import { builtInPolicy } from '../../../policy/shipped/built-in.ts';
import { CliError, exit } from '../../exit.ts';
import type { CliIo } from '../../io.ts';
import { readFile } from '../../read-file.ts';

/** The text of a policy file, or of `strict` or `observe`. @throws CliError if it cannot be read */
export function readPolicyText({ cwd }: CliIo, name: string): string {
  return builtInPolicy(name)?.text ?? readFile(resolve(cwd, name)).toString('utf8');
}

/** Faults and warnings carry the name as it was given, as compilers do. Which methods its server offers is not known here. */
export function checkPolicyText(text: string, file: string): CheckedPolicy | PolicyError {
  try {
    return checkPolicy(text, file, enrolments);
  } catch (error) {
    if (error instanceof PolicyError) return error;
    throw error;
  }
}

/** @throws CliError that names every fault */
export function readPolicy(io: CliIo, name: string): Policy {
  try {
    return checkPolicy(readPolicyText(io, name), name, enrolments).policy;
  } catch (cause) {
    if (!(cause instanceof PolicyError)) throw cause;
    throw new CliError(cause.message, 'Correct the policy, and try again.', exit.error, cause);
  }
}

/** `etc/policy.yaml:7: groups.0.mode: …` */
export function placed(file: string, { line, field, text }: PolicyFault): string {
  return `${file}:${line}: ${field}: ${text}`;
}
