import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addCluster } from './tree/cluster.ts';
import { addEnrolment } from './tree/enrolment.ts';
import { addEvidence } from './tree/evidence.ts';
import { addExamples } from './tree/examples.ts';
import { addNodes } from './tree/nodes.ts';
import { addPolicies } from './tree/policies.ts';
import { addReferences } from './tree/references.ts';
import { addServer } from './tree/server.ts';
import { addShells } from './tree/shells.ts';

/**
 * The command line as its users see it: names, arguments, options. What a command does is in the module that its
 * action loads, so that help and version wait for none of them.
 */
export function addCommands(program: Command, context: CliContext): void {
  const get = addNodes(program, context);
  addEvidence(program, context);
  addReferences(program, get, context);
  addPolicies(program, get, context);
  addEnrolment(program, get, context);
  addCluster(program, context);
  addServer(program, context);
  addShells(program, context);
  for (const command of [...program.commands, program.createHelp().visibleCommands(program).at(-1)])
    command?.helpGroup(familyOf(command.name()));
  addExamples(program);
}

/** Families of the commands in the first help that a user sees: by what they are about. */
const families: Readonly<Record<string, readonly string[]>> = {
  'Nodes:': ['get', 'describe', 'why', 'history', 'attest'],
  'Boots and evidence:': ['bundle', 'verify', 'eventlog', 'boot'],
  'References and policy:': ['reference', 'expect', 'policy', 'declare'],
  'Enrolment:': ['join-token', 'enrol', 'ek', 'delete', 'remove'],
  'Marks in the cluster:': ['pause', 'resume', 'breaker', 'exempt', 'trust', 'unmark'],
  'Access to the server:': ['token', 'whoami', 'context'],
  'Server:': ['audit', 'backup', 'authority', 'status', 'doctor', 'webhook'],
};

function familyOf(name: string): string {
  return Object.keys(families).find((family) => families[family]?.includes(name)) ?? 'This program:';
}
