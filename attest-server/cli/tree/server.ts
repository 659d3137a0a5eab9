import type { Command } from 'commander';
import type { FinishOptions } from '../commands/authority.ts';
import type { VersionOptions } from '../commands/version.ts';
import type { CliContext } from '../context.ts';
import type { AuditVerifyOptions } from '../offline/audit/command.ts';
import type { AuditListOptions } from '../offline/audit/list.ts';
import type { DoctorOptions } from '../offline/doctor/command.ts';
import { consentOptions, type Formatted, outputOption, type Reasoned, several } from './option.ts';

export function addServer(program: Command, context: CliContext): void {
  const audit = program.command('audit').description('list, verify and export the audit log');
  audit
    .command('export <file>')
    .description('write entries, keys and checkpoints to a file of JSON lines; - is standard output')
    .option('--resume', 'continue an interrupted export after its last checkpoint')
    .action(async (file: string, { resume = false }: { readonly resume?: boolean }) =>
      (await import('../offline/audit/export.ts')).exportAuditLog(context, file, resume),
    );
  audit
    .command('list')
    .description(
      'list entries of the audit log, the oldest first: of the server, or of an export, a database or a backup; it does not verify them',
    )
    .option('--node <node>', 'only entries that name this node, as subject, as agent or in their detail')
    .option('--actor <name>', 'only what this person or program did: token:alice, or alice alone')
    .option(
      '--action <action>',
      'only these actions; separate several with commas, or repeat the option',
      several,
    )
    .option('--since <moment>', 'only from then on: 30m, 2h or 7d ago, or RFC 3339')
    .option('--until <moment>', 'only before then: 30m, 2h or 7d ago, or RFC 3339')
    .option('--limit <count>', 'only the newest of them, 1 to 10000; default: all')
    .option('--from <file>', 'read an export, a database or a backup instead of the server')
    .addOption(outputOption('table', 'wide', 'json', 'yaml'))
    .action(async (options: AuditListOptions) =>
      (await import('../offline/audit/list.ts')).listAudit(context, options),
    );
  audit
    .command('rotate-key')
    .description('replace the audit key; the old key signs the new one')
    .action(async () => (await import('../commands/audit.ts')).rotateAuditKey(context));
  audit
    .command('resolve')
    .description(
      'explain a rollback of the audit log (audit_rollback); until then assay audit verify exits with 10',
    )
    .requiredOption('--reason <text>', 'the reason, for the audit log')
    .action(async ({ reason }: Reasoned) =>
      (await import('../commands/audit.ts')).resolveRollback(context, reason),
    );
  audit
    .command('verify [file]')
    .description(
      'verify an export, a database or a backup, offline; without a file, the audit log of the server',
    )
    .option(
      '--resume',
      'without a file: continue after the last checkpoint that was verified from this machine',
    )
    .option(
      '--checkpoint <file>',
      'also compare with this checkpoint from elsewhere, such as audit-checkpoint.json of an agent',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string | undefined, options: AuditVerifyOptions) =>
      (await import('../offline/audit/command.ts')).verifyAuditLog(context, file, options),
    );
  program
    .command('backup')
    .summary('copy the database while the server runs')
    .description('make a consistent copy of the database while the server runs, and print where it is')
    .action(async () => (await import('../commands/backup.ts')).backUp(context));
  addAuthority(program, context);
  program
    .command('status')
    .summary('show how the server is doing')
    .description(
      'show the state of the server: readiness, store, policy, certificates, connections, nodes, what is held',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/status.ts')).showStatus(context, output),
    );
  program
    .command('doctor')
    .summary('look for what is wrong with server and installation')
    .description(
      'find what is wrong, and say what to type next: the server as you see it, and on its machine the installation',
    )
    .option('--config <file>', 'configuration of the server; default: /etc/assay/server.yaml, if it exists')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: DoctorOptions) =>
      (await import('../offline/doctor/command.ts')).runDoctor(context, options),
    );
  program
    .command('webhook')
    .description('try what tells other programs of events')
    .command('test')
    .description('send a message to the webhook now; exits with 1 if it was not taken')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/webhook.ts')).tryWebhook(context, output),
    );
  program
    .command('version')
    .description('show the versions of this program and of the server')
    .option('--client', 'only the version of this program; asks no server')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: VersionOptions) =>
      (await import('../commands/version.ts')).showVersions(context, options),
    );
  program
    .command('whoami')
    .description('show whose token you use, its role, and when it expires')
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
    .summary('choose between several servers')
    .description('choose between several servers, named in $XDG_CONFIG_HOME/assay/config.json');
  contexts
    .command('list')
    .description('list the contexts, and show which one is used by default')
    .addOption(outputOption('table', 'json', 'yaml', 'name'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/context.ts')).listContexts(context, output),
    );
  contexts
    .command('current')
    .description('print the name of the context in use')
    .action(async () => (await import('../commands/context.ts')).showCurrentContext(context));
  contexts
    .command('use <name>')
    .description('use this context from now on')
    .action(async (name: string) => (await import('../commands/context.ts')).chooseContext(context, name));
}

const authoritySteps = `
One authority follows another in three steps:
  1. assay authority rotate   makes the next authority and announces it to agents
  2. assay authority finish   uses the new authority, once assay authority status shows that every node trusts it
  3. assay authority retire   drops the old authority; agents drop it too
Callers of the API, who hold a file of the authority too, get the new one from assay authority export.
`;

function addAuthority(program: Command, context: CliContext): void {
  const authority = program
    .command('authority')
    .description("replace the authority of the server's certificate")
    .addHelpText('after', authoritySteps);
  authority
    .command('status')
    .description('show the authorities, and which nodes do not trust the newer one yet')
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
        'step 2: use the new authority; refused while nodes do not trust it yet, which it names; asks first',
      )
      .option(
        '--force',
        'do it even though nodes do not trust it yet: these refuse the server until somebody gives them the file of the new authority',
      ),
  )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: FinishOptions) =>
      (await import('../commands/authority.ts')).finishAuthority(context, options),
    );
  authority
    .command('retire')
    .description('step 3: stop announcing the old authority')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('../commands/authority.ts')).changeAuthority(context, 'retire', output),
    );
  authority
    .command('export <file>')
    .description('write the authorities as PEM, for caFile of agents and for --ca-file; - is standard output')
    .action(async (file: string) =>
      (await import('../commands/authority.ts')).exportAuthority(context, file),
    );
}
