import type { Command } from 'commander';
import type { FinishOptions } from '../commands/authority.ts';
import type { VersionOptions } from '../commands/version.ts';
import type { CliContext } from '../context.ts';
import type { AuditVerifyOptions } from '../offline/audit/command.ts';
import { consentOptions, type Formatted, outputOption, type Reasoned } from './option.ts';

export function addServer(program: Command, context: CliContext): void {
  const audit = program
    .command('audit')
    .description('the audit log: who did what, and whether anybody changed it');
  audit
    .command('export <file>')
    .description('write entries, keys and checkpoints as JSON lines; - is standard output')
    .option('--resume', 'go on behind the last checkpoint of an export that was interrupted')
    .action(async (file: string, { resume = false }: { readonly resume?: boolean }) =>
      (await import('../offline/audit/export.ts')).exportAuditLog(context, file, resume),
    );
  audit
    .command('rotate-key')
    .description('put a new audit key in the place of the old one, which signs it')
    .action(async () => (await import('../commands/audit.ts')).rotateAuditKey(context));
  audit
    .command('resolve')
    .description(
      'say why the audit log is another one than was signed (audit_rollback); until then verify ends with 10',
    )
    .requiredOption('--reason <text>', 'why; it goes into the audit log')
    .action(async ({ reason }: Reasoned) =>
      (await import('../commands/audit.ts')).resolveRollback(context, reason),
    );
  audit
    .command('verify [file]')
    .description("check an export, a database or a backup, offline; without a file, the server's audit log")
    .option('--resume', 'of the server: go on after the last checkpoint that was verified from here')
    .option('--checkpoint <file>', 'a witness from elsewhere, such as audit-checkpoint.json of an agent')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string | undefined, options: AuditVerifyOptions) =>
      (await import('../offline/audit/command.ts')).verifyAuditLog(context, file, options),
    );
  program
    .command('backup')
    .description('copy the database, consistent while the server runs; prints where the copy is')
    .action(async () => (await import('../commands/backup.ts')).backUp(context));
  addAuthority(program, context);
  program
    .command('status')
    .description('how the server is: ready, store, policy, certificates, connections, nodes, what is held')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/status.ts')).showStatus(context, output),
    );
  program
    .command('version')
    .description('the versions of this program and of the server')
    .option('--client', 'only of this program: asks no server')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: VersionOptions) =>
      (await import('../commands/version.ts')).showVersions(context, options),
    );
  program
    .command('whoami')
    .description('whose token this is, what it may do, and until when')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/whoami.ts')).showCaller(context, output),
    );
  addContexts(program, context);
}

function addContexts(program: Command, context: CliContext): void {
  const contexts = program
    .command('context')
    .alias('contexts')
    .description('servers under a name, in $XDG_CONFIG_HOME/assay/config.json');
  contexts
    .command('list')
    .description('which there are, and which one is used where nothing else names a server')
    .addOption(outputOption('table', 'json', 'yaml', 'name'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/context.ts')).listContexts(context, output),
    );
  contexts
    .command('current')
    .description('the name of the one in use')
    .action(async () => (await import('../commands/context.ts')).showCurrentContext(context));
  contexts
    .command('use <name>')
    .description('use this one from now on')
    .action(async (name: string) => (await import('../commands/context.ts')).chooseContext(context, name));
}

const authoritySteps = `
One authority follows another in three steps:
  1. assay authority rotate   makes the next one; it is announced to agents under the one in force
  2. assay authority finish   once status shows that every node trusts it: the server uses the new one
  3. assay authority retire   the old one is forgotten, by agents too
Other holders of the authority's file (callers of the API) get it from assay authority export.
`;

function addAuthority(program: Command, context: CliContext): void {
  const authority = program
    .command('authority')
    .description("the authority of the server's own certificate, and its replacement")
    .addHelpText('after', authoritySteps);
  authority
    .command('status')
    .description('the authorities, and which nodes do not trust the newer one yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/authority.ts')).showAuthority(context, output),
    );
  authority
    .command('rotate')
    .description('step 1: make the next authority, and announce it')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/authority.ts')).changeAuthority(context, 'rotate', output),
    );
  consentOptions(
    authority
      .command('finish')
      .description(
        'step 2: use it; says which nodes do not trust it yet, is refused while there are such, and asks',
      )
      .option(
        '--force',
        'also while nodes do not trust it yet: these refuse the server until somebody gives them its file',
      ),
  )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: FinishOptions) =>
      (await import('../commands/authority.ts')).finishAuthority(context, options),
    );
  authority
    .command('retire')
    .description('step 3: announce the old one no more')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/authority.ts')).changeAuthority(context, 'retire', output),
    );
  authority
    .command('export <file>')
    .description('write the authorities as PEM, for caFile of agents and --ca-file; - is standard output')
    .action(async (file: string) =>
      (await import('../commands/authority.ts')).exportAuthority(context, file),
    );
}
