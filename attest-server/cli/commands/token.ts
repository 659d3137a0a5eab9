import type { Command } from 'commander';
import {
  listOf,
  maxTokenSeconds,
  type TokenView,
  tokenAnswer,
  tokenRevoked,
  tokenRoles,
  tokenView,
} from '../../protocol/api.ts';
import { CliError, exit } from '../exit.ts';
import { ago, parseDuration, utc } from '../moment.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';

/** `token create|list|revoke`: people and programs, each under a name. */
export function addToken(program: Command, { io, client }: Session): void {
  const tokens = program
    .command('token')
    .description('tokens for this API: people and programs, each under a name');
  tokens
    .command('create')
    .description('make one; its text is shown once')
    .requiredOption('--name <name>', 'who it is for, as the audit log will name them')
    .requiredOption('--role <role>', tokenRoles.join(', '))
    .option('--ttl <duration>', 'how long it can be used: 8h, 30d; without it, until it is revoked')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (options: CreateOptions, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const body = { name: options.name, role: roleOf(options.role), ttlSeconds: ttlOf(options.ttl) };
      const made = await client(command.optsWithGlobals()).post('/v1/tokens', body, tokenAnswer);
      print(io, format, made, () => `${printable(made.token)}\n`);
      if (format !== 'table') return;
      const until = made.expiresAt === null ? 'it is revoked' : utc(made.expiresAt);
      io.err(
        `holds for ${printable(made.name)} (${made.role}) until ${printable(until)}; it is not shown again\n`,
      );
    });
  tokens
    .command('list')
    .description('named tokens, without their text')
    .option('-o, --output <format>', 'table, json, yaml or name', 'table')
    .action(async (options: { output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml', 'name']);
      const page = await client(command.optsWithGlobals()).get('/v1/tokens', listOf(tokenView));
      print(io, format, page, () =>
        format === 'name'
          ? page.items.map(({ name }) => `${printable(name)}\n`).join('')
          : table(
              ['NAME', 'ROLE', 'BY', 'AGE', 'UNTIL'],
              page.items.map((item) => row(item, io.now())),
            ),
      );
    });
  tokens
    .command('revoke <name>')
    .description('refuse a token from now on')
    .action(async (name: string, _options: object, command: Command) => {
      const path = `/v1/tokens/${encodeURIComponent(name)}`;
      const { revoked } = await client(command.optsWithGlobals()).delete(path, tokenRevoked);
      io.out(`token ${printable(revoked)} revoked\n`);
    });
}

interface CreateOptions {
  readonly name: string;
  readonly role: string;
  readonly ttl?: string;
  readonly output: string;
}

function row({ name, role, createdBy, createdAt, expiresAt }: TokenView, now: number): string[] {
  const isOver = expiresAt !== null && Date.parse(expiresAt) <= now;
  return [name, role, createdBy, ago(createdAt, now), isOver ? 'expired' : utc(expiresAt)];
}

function roleOf(word: string): (typeof tokenRoles)[number] {
  const role = tokenRoles.find((each) => each === word);
  if (role === undefined)
    throw new CliError(`--role ${word} is no role`, `Roles are ${tokenRoles.join(', ')}.`, exit.usage);
  return role;
}

function ttlOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const seconds = parseDuration(text, '--ttl');
  if (seconds < 1 || seconds > maxTokenSeconds)
    throw new CliError(`--ttl ${text} is not between 1s and 3650d`, null, exit.usage);
  return seconds;
}
