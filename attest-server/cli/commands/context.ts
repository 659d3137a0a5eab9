import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError } from '../exit.ts';
import { type Format, print } from '../output.ts';
import { findsElsewhere, readContexts, useContext } from '../server-access.ts';
import { table } from '../table.ts';

/** `context list`: the contexts of the user's file; `*` marks the one that is used. */
export async function listContexts({ io }: CliContext, format: Format): Promise<void> {
  const { contexts, current } = readContexts(io);
  const items = contexts.map(({ name, server }) => ({ name, server, current: name === current }));
  await print(io, format, { items, next: null }, () =>
    format === 'name'
      ? items.map(({ name }) => `${printable(name)}\n`).join('')
      : table(
          ['CURRENT', 'NAME', 'SERVER'],
          items.map((item) => [item.current ? '*' : '', item.name, item.server ?? '-']),
        ),
  );
}

/** `context current`. */
export function showCurrentContext({ io }: CliContext): void {
  const { current } = readContexts(io);
  if (current === null)
    throw new CliError(
      'no context is in use',
      'assay context list shows them; assay context use NAME chooses one.',
    );
  io.out(`${printable(current)}\n`);
  warn({ io });
}

/** `context use NAME`: from now on, where nothing else names a server. */
export function chooseContext({ io }: CliContext, name: string): void {
  useContext(name, io);
  io.out(`context ${printable(name)} is in use\n`);
  warn({ io });
}

function warn({ io }: Pick<CliContext, 'io'>): void {
  const other = findsElsewhere(io);
  if (other !== null) io.err(`assay: in this folder ${printable(other)} takes precedence over it\n`);
}
