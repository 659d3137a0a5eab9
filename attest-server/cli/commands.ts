import type { Command } from 'commander';
import type { CliContext } from './context.ts';
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
  addServer(program, context);
  addShells(program, context);
  addExamples(program);
}
