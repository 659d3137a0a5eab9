import type { Command } from 'commander';
import { createProgram } from '../../../attest-server/cli/program.ts';
import { ioOf } from './cli-fixture.ts';

/** The whole tree of commands, which do nothing but tell their names. */
export function idleProgram(ran: string[]): Command {
  const program = createProgram(ioOf({}), () => {});
  const idle = (command: Command) => {
    command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
    if (command.commands.length === 0) command.action(() => void ran.push(command.name()));
    command.commands.forEach(idle);
  };
  idle(program);
  return program;
}

/** Words as a shell makes them, of each command of ours in a line. */
export function callsIn(line: string): readonly (readonly string[])[] {
  return line
    .replace(/^source <\((.*)\)$/, '$1')
    .split(' | ')
    .map((part) => part.replace(/ > .*$/, ''))
    .map((part) => (part.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', '')))
    .filter(([program]) => program === 'assay')
    .map(([, ...words]) => words);
}
