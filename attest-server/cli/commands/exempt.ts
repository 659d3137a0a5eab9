import { exemptionEnded, longestExemption } from '../../api/cluster-api.ts';
import { exemptionView } from '../../api/node-api.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { endOf, utc } from '../moment.ts';
import { type Format, print } from '../output.ts';

export interface ExemptOptions {
  readonly reason?: string;
  readonly until?: string;
  readonly for?: string;
  readonly end?: boolean;
  readonly output: Format;
}

/** `exempt NODE --reason R --until T|--for D`, or `exempt NODE --end`. */
export async function exemptNode(
  { io, server }: CliContext,
  node: string,
  options: ExemptOptions,
): Promise<void> {
  const { reason, until, for: duration, end = false, output: format } = options;
  if (end) {
    if (until !== undefined || duration !== undefined)
      throw new CliError('--end goes with no other time', 'Leave out --until and --for.', exit.usage);
    const path = `/v1/cluster/exemptions/${encodeURIComponent(node)}`;
    const ended = await (await server()).delete(path, exemptionEnded);
    return print(io, format, ended, () => `${printable(ended.ended)} is no longer exempt\n`);
  }
  if (reason === undefined)
    throw new CliError('exempt needs --reason', 'It goes into the audit log.', exit.usage);
  const time = endOf('exempt', options, longestExemption);
  const made = await (await server()).post(
    '/v1/cluster/exemptions',
    { node, reason, ...time },
    exemptionView,
  );
  await print(
    io,
    format,
    made,
    () =>
      `${printable(made.node)} is exempt until ${utc(made.until)}: it gets no taint, and its state and label stay what they are. No boot of it gets the key of a disk until then\n`,
  );
}
