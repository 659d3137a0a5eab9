import {
  maxTokenSeconds,
  type TokenView,
  tokenAnswer,
  tokenRevoked,
  tokenRoles,
  tokenView,
} from '../../api/api.ts';
import { listOf } from '../../api/list.ts';
import { printable } from '../../wire/printable.ts';
import { Refusal } from '../client.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration, relative, tableTime, utc } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { table } from '../table.ts';

export interface TokenOptions {
  readonly name: string;
  readonly role: string;
  readonly ttl?: string;
  readonly output: Format;
}

/** `token create`: the token alone on standard output, what to know of it on standard error. */
export async function createToken(
  { io, server }: CliContext,
  { name, role, ttl, output: format }: TokenOptions,
): Promise<void> {
  const body = { name, role: roleOf(role), ttlSeconds: ttlOf(ttl) };
  const made = await (await server()).post('/v1/tokens', body, tokenAnswer);
  await print(io, format, made, () => `${printable(made.token)}\n`);
  if (format !== 'table') return;
  const until = made.expiresAt === null ? 'it is revoked' : utc(made.expiresAt);
  io.err(
    `this token is for ${printable(made.name)} (${made.role}) until ${printable(until)}; it is not shown again\n`,
  );
}

/** `token list`: without their text, which the server does not keep. */
export async function listTokens(
  { io, server }: CliContext,
  { output: format, utc: absolute = false }: { readonly output: Format; readonly utc?: boolean },
): Promise<void> {
  const page = await (await server()).get('/v1/tokens', listOf(tokenView));
  await print(io, format, page, () =>
    format === 'name'
      ? page.items.map(({ name }) => `${printable(name)}\n`).join('')
      : table(
          ['NAME', 'ROLE', 'BY', 'AGE', 'UNTIL'],
          page.items.map((item) => row(item, io.now(), absolute)),
        ),
  );
}

/** `token revoke NAME`. */
export async function revokeToken({ io, server }: CliContext, name: string, consent: Consent): Promise<void> {
  const ask = questions(io, consent);
  const client = await server();
  const whom = async () => {
    const { items } = await client.get('/v1/tokens', listOf(tokenView));
    const found = items.find((token) => token.name === name);
    if (found === undefined)
      throw new Refusal(404, 'not_found', `there is no token named ${printable(name)}`, null);
    const made = `made by ${printable(found.createdBy)} ${relative(found.createdAt, io.now())}`;
    return `${printable(name)} (${found.role}, ${made}) will be refused from now on\n`;
  };
  if (consent.dryRun === true) return io.out(await whom());
  io.err(await orWhyNot(whom));
  await ask(`Revoke the token of ${printable(name)}?`);
  const { revoked } = await client.delete(`/v1/tokens/${encodeURIComponent(name)}`, tokenRevoked);
  io.out(`token ${printable(revoked)} revoked\n`);
}

function row(
  { name, role, createdBy, createdAt, expiresAt }: TokenView,
  now: number,
  absolute: boolean,
): string[] {
  const isOver = expiresAt !== null && Date.parse(expiresAt) <= now;
  const age = tableTime(createdAt, now, absolute);
  return [name, role, createdBy, age, isOver ? 'expired' : utc(expiresAt)];
}

function roleOf(given: string): (typeof tokenRoles)[number] {
  const role = tokenRoles.find((each) => each === given);
  if (role === undefined)
    throw new CliError(`--role ${given} is not a role`, `Roles are ${tokenRoles.join(', ')}.`, exit.usage);
  return role;
}

function ttlOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const seconds = parseDuration(text, '--ttl');
  if (seconds < 1 || seconds > maxTokenSeconds)
    throw new CliError(`--ttl ${text} is not between 1s and 3650d`, null, exit.usage);
  return seconds;
}
