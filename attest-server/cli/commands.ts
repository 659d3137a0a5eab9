import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { addEnrolment } from './tree/enrolment.ts';
import { addEvidence } from './tree/evidence.ts';
import { addNodes } from './tree/nodes.ts';
import { addPolicies } from './tree/policies.ts';
import { addReferences } from './tree/references.ts';
import { addServer } from './tree/server.ts';

/**
 * The command line as its users see it: names, arguments, options. What a command does is in the module that its
 * action loads, so that help and version wait for none of them.
 */
export function addCommands(program: Command, context: CliContext): void {
  addNodes(program, context);
  addEvidence(program, context);
  addReferences(program, context);
  addPolicies(program, context);
  addEnrolment(program, context);
  addServer(program, context);
}
