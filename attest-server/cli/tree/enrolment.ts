import type { Command } from 'commander';
import type { ApproveOptions } from '../commands/enrol.ts';
import type { JoinTokenListOptions } from '../commands/join-token.ts';
import type { TokenOptions } from '../commands/token.ts';
import type { Consent } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import type { EkRootsOptions } from '../offline/verify/ek-roots.ts';
import { consentOptions, type Formatted, outputOption, type Reasoned, utcOption } from './option.ts';

export function addEnrolment(program: Command, context: CliContext, get: Command): void {
  const joinTokens = program
    .command('join-token')
    .alias('join-tokens')
    .description('manage tokens that let a new node enrol once');
  joinTokens
    .command('create')
    .description('make a join token')
    .requiredOption('--node <name>', 'the name of the node that may use it')
    .option('--ttl <duration>', 'lifetime: 30m, 2h, at most 24h', '1h')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: Formatted & { readonly node: string; readonly ttl: string }) =>
      (await import('../commands/join-token.ts')).createJoinToken(context, options),
    );
  for (const list of [joinTokens.command('list'), get.command('join-tokens').alias('join-token')])
    list
      .description('list usable join tokens by their ids, without their secrets')
      .option('--all', 'also list tokens that were used, revoked or have expired')
      .addOption(outputOption('table', 'json', 'yaml', 'name'))
      .action(async (options: JoinTokenListOptions) =>
        (await import('../commands/join-token.ts')).listJoinTokens(context, options),
      );
  joinTokens
    .command('revoke <id>')
    .description('take back a join token that was not used')
    .action(async (id: string) => (await import('../commands/join-token.ts')).revokeJoinToken(context, id));
  const enrolments = program.command('enrol').alias('enroll').description('decide which TPM is which node');
  enrolments
    .command('list')
    .description(
      'list TPMs that claim a name and wait for an approval, with the whole digests that an approval needs; everything shown is only their claim',
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
        'let a TPM enrol under this name when it connects next; compare its digest on the machine first',
      )
      .option('--ek <digest>', 'SHA-256 of the endorsement key, all 64 hex digits; assay enrol list shows it')
      .option(
        '--all',
        'instead of one node: approve all nodes bound by first use; names them, and asks first',
      ),
  ).action(async (node: string | undefined, options: ApproveOptions) =>
    (await import('../commands/enrol.ts')).approveEnrolment(context, node, options),
  );
  consentOptions(
    enrolments
      .command('revoke <node>')
      .aliases(['delete', 'remove'])
      .description(
        'delete a node: frees its name, and its TPM needs a new approval; shows what the node is now, and asks first',
      )
      .requiredOption('--reason <text>', 'the reason, for the audit log')
      .option(
        '--erase-evidence',
        'also erase all evidence that is kept under this name, which frees its share of the disk; needs the role admin',
      ),
  ).action(async (node: string, options: Consent & Reasoned & { eraseEvidence?: boolean }) =>
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
    .description('manage API tokens, one for each person or program');
  tokens
    .command('create')
    .description('make a token; its secret is shown only once')
    .requiredOption('--name <name>', 'the person or program, as the audit log shall name it')
    .requiredOption('--role <role>', 'reader, operator, admin')
    .option('--ttl <duration>', 'lifetime: 8h, 30d; default: until it is revoked')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: TokenOptions) =>
      (await import('../commands/token.ts')).createToken(context, options),
    );
  for (const list of [tokens.command('list'), get.command('tokens').alias('token')])
    list
      .description('list named tokens, without their secrets')
      .addOption(outputOption('table', 'json', 'yaml', 'name', 'jsonpath=', 'custom-columns='))
      .addOption(utcOption())
      .action(async (options: Formatted & { readonly utc?: boolean }) =>
        (await import('../commands/token.ts')).listTokens(context, options),
      );
  consentOptions(
    tokens
      .command('revoke <name>')
      .description('refuse a token from now on; shows whose it is, and asks first'),
  ).action(async (name: string, options: Consent) =>
    (await import('../commands/token.ts')).revokeToken(context, name, options),
  );
  const ek = program.command('ek').description('pin endorsement keys of nodes; list TPM makers');
  ek.command('import <file>')
    .description(
      'pin nodes to endorsement keys from CSV lines node,digest (SHA-256 of TPMT_PUBLIC in hex); - is standard input',
    )
    .action(async (file: string) => (await import('../commands/ek.ts')).importPins(context, file));
  ek.command('roots')
    .description('list the authorities of TPM makers that come with assay')
    .option('--from <dir>', 'list those in another folder of *.pem', 'builtin')
    .option('--intermediates', 'list the authorities below the roots instead')
    .addOption(outputOption('table', 'wide', 'json', 'yaml'))
    .action(async (options: EkRootsOptions) =>
      (await import('../offline/verify/ek-roots.ts')).listRoots(context, options),
    );
}
