import { resolve } from 'node:path';
import { policyLabel } from '../../../formats/policy-label.ts';
import { type Reference, unseenFiles } from '../../../formats/reference.ts';
import { PolicyError, type PolicyFault } from '../../../policy/file/policy-error.ts';
import { policyJsonSchema } from '../../../policy/file/policy-schema.ts';
import type { Policy } from '../../../policy/policy.ts';
import { printable } from '../../../wire/printable.ts';
import type { CliContext } from '../../context.ts';
import { exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readInput } from '../../read-file.ts';
import { readReferences } from '../reference-file.ts';
import { latchFaults } from './latch-faults.ts';
import { checkPolicyText, placed, readPolicyText } from './text.ts';

export interface PolicyCheckOptions {
  /** Folder of the references that it is to judge by. */
  readonly references?: string;
  /** Hold it against the latch of the server, too. */
  readonly latched?: boolean;
  readonly output: Format;
}

/** `policy check FILE`: exits 1 where the policy has a fault. */
export async function checkPolicyFile(
  { io, server, exitWith }: CliContext,
  file: string,
  { references: folder, latched = false, output: format }: PolicyCheckOptions,
): Promise<void> {
  const text = file === '-' ? (await readInput(io, file)).toString('utf8') : readPolicyText(io, file);
  const checked = checkPolicyText(text, file);
  const refused =
    latched && !(checked instanceof PolicyError)
      ? await latchFaults(await server(), checked.policy, file)
      : null;
  const faults = checked instanceof PolicyError ? checked.faults : (refused ?? []);
  const policy = checked instanceof PolicyError || refused !== null ? null : checked.policy;
  const references = folder === undefined ? [] : readReferences(resolve(io.cwd, folder));
  const warnings = [
    ...(checked instanceof PolicyError ? [] : checked.warnings),
    ...(policy === null
      ? []
      : [
          ...unseenIn(policy, references),
          ...(folder === undefined ? [] : withoutLists(policy, references)),
          ...ofClusters(policy),
        ]),
  ];
  const answer = {
    file,
    valid: policy !== null,
    policy: policy && policyLabel(policy),
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
  exitWith(refused !== null ? exit.held : policy === null ? exit.error : exit.ok);
}

/** References that count for one node alone, where the policy wants them for more. */
function unseenIn(policy: Policy, references: readonly Reference[]): readonly PolicyFault[] {
  return policy.groups.flatMap(({ name: group, rules: { boot } }, index) =>
    references
      .filter((one) => one.group === group || boot.references?.includes(one.name) === true)
      .filter((one) => boot.scope.loader !== 'node' && one.state === 'active' && unseenFiles(one).length > 0)
      .map((one) => ({
        line: 1,
        field: `groups.${index}.boot.scope.loader`,
        text: `is ${boot.scope.loader}, but nobody has seen ${unseenFiles(one).length} of the files that the boot loader of reference ${one.name} read. For these files the reference counts only for ${one.captured?.node ?? 'no node'} and for nodes whose agents send them`,
      })),
  );
}

/** Where each file of an initrd counts, and no list has any. */
function withoutLists({ groups }: Policy, references: readonly Reference[]): readonly PolicyFault[] {
  return groups.flatMap(({ name: group, rules: { boot } }, index) => {
    const isItsOwn = (one: Reference) => one.group === group || boot.references?.includes(one.name) === true;
    const hasList = references.some(
      (one) => one.kind === 'runtime' && one.state === 'active' && isItsOwn(one),
    );
    if (boot.scope.initrd !== 'contents' || hasList) return [];
    const text = `is contents, and no active reference of kind runtime of group ${group} lists files: every initrd is unknown`;
    return [{ line: 1, field: `groups.${index}.boot.scope.initrd`, text }];
  });
}

/** A server that does not offer a method refuses the policy. */
function ofClusters({ groups }: Policy): readonly PolicyFault[] {
  return groups.flatMap(({ enrolment }, index) =>
    (['cloud', 'vendor'] as const)
      .filter((method) => enrolment.includes(method))
      .map((method) => ({
        line: 1,
        field: `groups.${index}.enrolment`,
        text: `${method} is offered by a server in a cluster${method === 'cloud' ? ' that has a cloudProgram' : ''}; any other server refuses this policy`,
      })),
  );
}

/** `policy schema`. */
export function printPolicySchema({ io }: CliContext): void {
  io.out(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
}
