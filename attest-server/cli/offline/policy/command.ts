import type { Command } from 'commander';
import { PolicyError } from '../../../policy/file/policy-error.ts';
import { policyJsonSchema } from '../../../policy/file/policy-schema.ts';
import { exit } from '../../exit.ts';
import { formatOf, print } from '../../output.ts';
import { printable } from '../../printable.ts';
import type { Session } from '../../session.ts';
import { checkPolicyText, placed, readPolicyText } from './text.ts';

/** `policy check|schema`; gives the command, so that what asks the server can join it. */
export function addPolicy(program: Command, { io, exitWith }: Session): Command {
  const policies = program
    .command('policy')
    .description('what is wanted of nodes: check it, try it, draft it');
  policies
    .command('check <file>')
    .description('is this policy valid? Tells every fault with file, line and field, and what is doubtful')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action((file: string, options: { output: string }) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const checked = checkPolicyText(readPolicyText(io, file), file);
      const faults = checked instanceof PolicyError ? checked.faults : [];
      const warnings = checked instanceof PolicyError ? [] : checked.warnings;
      const policy = checked instanceof PolicyError ? null : checked.policy;
      const answer = {
        ...{ file, valid: policy !== null },
        policy: policy && `${policy.name}@${policy.revision}`,
        groups: policy?.groups.map(({ name }) => name) ?? [],
        ...{ faults, warnings },
      };
      print(io, format, answer, () => {
        for (const fault of faults) io.err(`${printable(placed(file, fault))}\n`);
        for (const { line, field, text } of warnings)
          io.err(`${printable(placed(file, { line, field, text: `warning: ${text}` }))}\n`);
        if (policy === null) return '';
        const groups = policy.groups.length === 1 ? '1 group' : `${policy.groups.length} groups`;
        return `${printable(file)} is valid: ${printable(answer.policy ?? '')}, ${groups}\n`;
      });
      exitWith(policy === null ? exit.error : exit.ok);
    });
  policies
    .command('schema')
    .description('the JSON schema of policy files, for editors and other programs')
    .action(() => io.out(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`));
  return policies;
}
