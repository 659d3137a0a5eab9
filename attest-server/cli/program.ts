import { Command, CommanderError } from 'commander';
import { version } from '../version.ts';
import { createClient } from './client.ts';
import { addAudit } from './commands/audit.ts';
import { addAuthority } from './commands/authority.ts';
import { addBackup } from './commands/backup.ts';
import { addBundle } from './commands/bundle.ts';
import { addDescribe } from './commands/describe.ts';
import { addEk } from './commands/ek.ts';
import { addEnrol } from './commands/enrol.ts';
import { addGet } from './commands/get.ts';
import { addHistory } from './commands/history.ts';
import { addJoinToken } from './commands/join-token.ts';
import { addReference } from './commands/reference.ts';
import { addReferenceLife } from './commands/reference-life.ts';
import { addToken } from './commands/token.ts';
import { addWhy } from './commands/why.ts';
import { findConnection } from './connection.ts';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';
import { addAuditVerify } from './offline/audit/command.ts';
import { addBoot } from './offline/boot/diff-command.ts';
import { addEventLog } from './offline/boot/eventlog-command.ts';
import { addReferenceCompute } from './offline/compute/command.ts';
import { addPolicy } from './offline/policy/command.ts';
import { addPolicySimulate } from './offline/policy/simulate.ts';
import { addPolicySuggest } from './offline/policy/suggest.ts';
import { addReferenceDiff } from './offline/reference-diff.ts';
import { addVerify } from './offline/verify/command.ts';
import { addEkRoots } from './offline/verify/ek-roots.ts';
import { printable } from './printable.ts';
import type { Session } from './session.ts';

/** Runs one command line (without program names) and gives its exit code. */
export async function runCli(args: readonly string[], io: CliIo): Promise<number> {
  let code: number = exit.ok;
  const program = createProgram({
    io,
    client: (flags) => createClient(findConnection(flags, io)),
    exitWith: (chosen) => {
      code = chosen;
    },
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    return report(error, io);
  }
}

function createProgram(session: Session): Command {
  const program = new Command('assay')
    .description('Ask which nodes have proven what they booted, and why others have not')
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: session.io.out,
      writeErr: session.io.err,
      outputError: (text, write) => write(printableLines(text)),
    })
    .option('--server <url>', 'address of the API, https://HOST:8444 (ASSAY_SERVER)')
    .option('--token-file <file>', 'file that holds your token (ASSAY_TOKEN_FILE)')
    .option('--ca-file <file>', "PEM of the server's authority (ASSAY_CA_FILE)")
    .option('--context <name>', 'a named context of $XDG_CONFIG_HOME/assay/config.json')
    .addHelpText(
      'after',
      `
Each command has --help. Exit codes: 0 done, or trusted; 1 error; 2 wrong usage;
10 untrusted, evidence rejected, or a difference found; 11 pending, unknown,
unsupported or not judgeable; 12 held (by no command of this version).`,
    );
  addGet(program, session);
  addDescribe(program, session);
  addWhy(program, session);
  addHistory(program, session);
  addBundle(program, session);
  addVerify(program, session);
  addEventLog(program, session);
  addBoot(program, session);
  const references = addReference(program, session);
  addReferenceLife(references, session);
  addReferenceDiff(references, session);
  addReferenceCompute(references, session);
  const policies = addPolicy(program, session);
  addPolicySimulate(policies, session);
  addPolicySuggest(policies, session);
  addJoinToken(program, session);
  addEnrol(program, session);
  addToken(program, session);
  addEkRoots(addEk(program, session), session);
  addAuditVerify(addAudit(program, session), session);
  addBackup(program, session);
  addAuthority(program, session);
  return program;
}

function report(error: unknown, io: CliIo): number {
  // Help and version end by an exception too; commander has written its own words.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage;
  if (error instanceof CliError) {
    io.err(printableLines(`assay: ${error.message}${error.hint === null ? '' : `\n  ${error.hint}`}\n`));
    return error.exitCode;
  }
  const text = error instanceof Error ? error.message : String(error);
  io.err(printableLines(`assay: ${text}\n  This is a fault of assay; please report it.\n`));
  return exit.error;
}

function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}
