import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addCluster } from './tree/cluster.ts';
import { addDisks } from './tree/disks.ts';
import { addEnrolment } from './tree/enrolment.ts';
import { addEvidence } from './tree/evidence.ts';
import { addExamples } from './tree/examples.ts';
import { addNodes } from './tree/nodes.ts';
import { addPolicies } from './tree/policies.ts';
import { addReferences } from './tree/references.ts';
import { addServer } from './tree/server.ts';
import { addShells } from './tree/shells.ts';

/** @param get under which a family puts what it lists */
type AddFamily = (program: Command, context: CliContext, get: Command) => void;

const all: readonly AddFamily[] = [
  ...[addNodes, addEvidence, addReferences, addPolicies, addEnrolment, addDisks],
  ...[addCluster, addServer, addShells],
];

/** Who types one of these, the most usual, waits for no declaration of the others. */
const whoAdds = new Map<string, readonly AddFamily[]>([
  ['why', [addNodes]],
  ['describe', [addNodes]],
  ['history', [addNodes]],
  ['events', [addNodes]],
  ['attest', [addNodes]],
  ['get', [addNodes, addReferences, addPolicies, addEnrolment]],
]);

/**
 * The command line as its users see it: names, arguments, options. What a command does is in the module that its
 * action loads, so that help and version wait for none of them.
 * @param first the first word that is typed: of a command that is usual, what does not belong to it is left out
 */
export function addCommands(program: Command, context: CliContext, first = ''): void {
  const get = program.command('get').description('list nodes, and other things that the server holds');
  for (const add of whoAdds.get(first) ?? all) add(program, context, get);
  for (const command of [...program.commands, program.createHelp().visibleCommands(program).at(-1)])
    command?.helpGroup(familyOf(command.name()));
  addExamples(program);
}

/** Families of the commands in the first help that a user sees: by what they are about. */
const families: Readonly<Record<string, readonly string[]>> = {
  'Nodes:': ['get', 'describe', 'why', 'history', 'events', 'attest'],
  'Boots and evidence:': ['bundle', 'verify', 'eventlog', 'boot'],
  'References and policy:': ['reference', 'expect', 'policy', 'declare'],
  'Enrolment:': ['join-token', 'enrol', 'ek', 'delete', 'remove'],
  'Disks:': ['disk'],
  'Marks in the cluster:': ['pause', 'resume', 'breaker', 'exempt', 'trust', 'unmark'],
  'Access to the server:': ['token', 'whoami', 'context'],
  'Server:': ['audit', 'backup', 'authority', 'status', 'doctor', 'webhook'],
};

function familyOf(name: string): string {
  return Object.keys(families).find((family) => families[family]?.includes(name)) ?? 'This program:';
}
