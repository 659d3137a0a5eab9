import type { Command } from 'commander';
import type { ApproveOptions } from '../commands/enrol.ts';
import type { JoinTokenListOptions } from '../commands/join-token.ts';
import type { TokenOptions } from '../commands/token.ts';
import type { Consent } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import type { EkRootsOptions } from '../offline/verify/ek-roots.ts';
import { consentOptions, type Formatted, outputOption, type Reasoned, utcOption } from './option.ts';

export function addEnrolment(program: Command, get: Command, context: CliContext): void {
  const joinTokens = program
    .command('join-token')
    .alias('join-tokens')
    .description('tokens with which a new node enrols once');
  joinTokens
    .command('create')
    .description('make one')
    .requiredOption('--node <name>', 'the only name that it enrols')
    .option('--ttl <duration>', 'how long it can be used: 30m, 2h, at most 24h', '1h')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: Formatted & { readonly node: string; readonly ttl: string }) =>
      (await import('../commands/join-token.ts')).createJoinToken(context, options),
    );
  for (const list of [joinTokens.command('list'), get.command('join-tokens').alias('join-token')])
    list
      .description('join tokens that can be used, by their ids, without their text')
      .option('--all', 'also those that were used or are over')
      .addOption(outputOption('table', 'json', 'yaml', 'name'))
      .action(async (options: JoinTokenListOptions) =>
        (await import('../commands/join-token.ts')).listJoinTokens(context, options),
      );
  joinTokens
    .command('revoke <id>')
    .description('take back one that was not used')
    .action(async (id: string) => (await import('../commands/join-token.ts')).revokeJoinToken(context, id));
  const enrolments = program
    .command('enrol')
    .alias('enroll')
    .description('which TPM is which node, by your approval');
  enrolments
    .command('list')
    .description(
      'TPMs that claimed a name and for which nobody has vouched, with the whole digests that an approval takes; all of it is their own claim',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .addOption(utcOption())
    .action(async (options: Formatted & { readonly utc?: boolean }) =>
      (await import('../commands/enrol.ts')).listCandidates(context, options),
    );
  consentOptions(
    enrolments
      .command('approve [node]')
      .description(
        'let a TPM enrol under this name when it next comes; compare its digest on the machine first',
      )
      .option('--ek <digest>', 'SHA-256 of its endorsement key, as enrol list shows it: all 64 hex digits')
      .option('--all', 'instead: make approvals of all bindings by first use; names them, and asks'),
  ).action(async (node: string | undefined, options: ApproveOptions) =>
    (await import('../commands/enrol.ts')).approveEnrolment(context, node, options),
  );
  consentOptions(
    enrolments
      .command('revoke <node>')
      .aliases(['delete', 'remove'])
      .description(
        'delete a node: its name is free, its TPM waits until somebody vouches for it again; says what the node is now, and asks',
      )
      .requiredOption('--reason <text>', 'why, for the audit log'),
  ).action(async (node: string, options: Consent & Reasoned) =>
    (await import('../commands/enrol.ts')).revokeEnrolment(context, node, options),
  );
  for (const word of ['delete', 'remove'])
    program
      .command(`${word} [words...]`, { hidden: true })
      .allowUnknownOption()
      .action(async (words: readonly string[]) => {
        throw (await import('../commands/enrol.ts')).calledRevoke(words);
      });
  const tokens = program
    .command('token')
    .alias('tokens')
    .description('tokens for this API: people and programs, each under a name');
  tokens
    .command('create')
    .description('make one; its text is shown once')
    .requiredOption('--name <name>', 'who it is for, as the audit log will name them')
    .requiredOption('--role <role>', 'reader, operator, admin')
    .option('--ttl <duration>', 'how long it can be used: 8h, 30d; without it, until it is revoked')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: TokenOptions) =>
      (await import('../commands/token.ts')).createToken(context, options),
    );
  for (const list of [tokens.command('list'), get.command('tokens').alias('token')])
    list
      .description('named tokens, without their text')
      .addOption(outputOption('table', 'json', 'yaml', 'name'))
      .addOption(utcOption())
      .action(async (options: Formatted & { readonly utc?: boolean }) =>
        (await import('../commands/token.ts')).listTokens(context, options),
      );
  consentOptions(
    tokens.command('revoke <name>').description('refuse a token from now on; says whose it is, and asks'),
  ).action(async (name: string, options: Consent) =>
    (await import('../commands/token.ts')).revokeToken(context, name, options),
  );
  const ek = program.command('ek').description('endorsement keys of nodes');
  ek.command('import <file>')
    .description(
      'bind nodes to endorsement keys: CSV lines node,SHA-256 of TPMT_PUBLIC in hex; - is standard input',
    )
    .action(async (file: string) => (await import('../commands/ek.ts')).importPins(context, file));
  ek.command('roots')
    .description('authorities that endorse TPMs, as they come with assay')
    .option('--from <dir>', 'another folder of *.pem', 'builtin')
    .option('--intermediates', 'the authorities below the roots instead')
    .addOption(outputOption('table', 'wide', 'json', 'yaml'))
    .action(async (options: EkRootsOptions) =>
      (await import('../offline/verify/ek-roots.ts')).listRoots(context, options),
    );
}
