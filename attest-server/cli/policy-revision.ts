import { type PolicyRevisionText, policyRevisionText } from '../api/policy-api.ts';
import type { Client } from './client.ts';
import { CliError, exit } from './exit.ts';

/** `e25b0a…`, or `strict@e25b0a…` as verdicts name it -> its digits. @throws CliError (usage) */
export function revisionDigits(given: string): string {
  const digits = given.slice(given.lastIndexOf('@') + 1).toLowerCase();
  if (/^[0-9a-f]{4,64}$/.test(digits)) return digits;
  throw new CliError(
    `${given} is not a revision of a policy`,
    'Give its first 4 hex digits or more. This command shows them:\n  assay policy history',
    exit.usage,
  );
}

/** A policy that is or was in force. @throws CliError if it is not kept */
export function readPolicyRevision(client: Client, given: string): Promise<PolicyRevisionText> {
  return client.get(`/v1/policy/history/${revisionDigits(given)}`, policyRevisionText);
}
