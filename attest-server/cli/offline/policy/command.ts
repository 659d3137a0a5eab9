import { PolicyError } from '../../../policy/file/policy-error.ts';
import { policyJsonSchema } from '../../../policy/file/policy-schema.ts';
import { printable } from '../../../protocol/printable.ts';
import type { CliContext } from '../../context.ts';
import { exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { checkPolicyText, placed, readPolicyText } from './text.ts';

/** `policy check FILE`: exits 1 where the policy has a fault. */
export async function checkPolicyFile(
  { io, exitWith }: CliContext,
  file: string,
  format: Format,
): Promise<void> {
  const checked = checkPolicyText(readPolicyText(io, file), file);
  const faults = checked instanceof PolicyError ? checked.faults : [];
  const warnings = checked instanceof PolicyError ? [] : checked.warnings;
  const policy = checked instanceof PolicyError ? null : checked.policy;
  const answer = {
    file,
    valid: policy !== null,
    policy: policy && `${policy.name}@${policy.revision}`,
    groups: policy?.groups.map(({ name }) => name) ?? [],
    faults,
    warnings,
  };
  await print(io, format, answer, () => {
    for (const fault of faults) io.err(`${printable(placed(file, fault))}\n`);
    for (const { line, field, text } of warnings)
      io.err(`${printable(placed(file, { line, field, text: `warning: ${text}` }))}\n`);
    if (policy === null) return '';
    const groups = policy.groups.length === 1 ? '1 group' : `${policy.groups.length} groups`;
    return `${printable(file)} is valid: ${printable(answer.policy ?? '')}, ${groups}\n`;
  });
  exitWith(policy === null ? exit.error : exit.ok);
}

/** `policy schema`. */
export function printPolicySchema({ io }: CliContext): void {
  io.out(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
}
