import type { Command } from 'commander';
import { joinTokenAnswer, maxJoinTokenSeconds } from '../../protocol/api.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration, utc } from '../moment.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';

/** `join-token create`: the token alone on standard output, what to know of it on standard error. */
export function addJoinToken(program: Command, { io, client }: Session): void {
  program
    .command('join-token')
    .description('tokens with which a new node enrols once')
    .command('create')
    .description('make one')
    .requiredOption('--node <name>', 'the only name that it enrols')
    .option('--ttl <duration>', 'how long it can be used: 30m, 2h, at most 24h', '1h')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (options: { node: string; ttl: string; output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const ttlSeconds = parseDuration(options.ttl, '--ttl');
      if (ttlSeconds < 1 || ttlSeconds > maxJoinTokenSeconds)
        throw new CliError(`--ttl ${options.ttl} is not between 1s and 24h`, null, exit.usage);
      const server = client(command.optsWithGlobals());
      const made = await server.post('/v1/join-tokens', { node: options.node, ttlSeconds }, joinTokenAnswer);
      print(io, format, made, () => `${printable(made.token)}\n`);
      if (format === 'table')
        io.err(`enrols ${printable(made.node)} once, until ${printable(utc(made.expiresAt))}\n`);
    });
}
