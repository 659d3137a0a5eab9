import { z } from 'zod';
import { eventFilter } from '../../api/event-filter.ts';
import { eventNames } from '../../formats/event.ts';
import { jsonOrNothing } from '../../wire/parse-json.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { readEvents } from '../event-stream.ts';
import { CliError, exit } from '../exit.ts';
import { utc } from '../moment.ts';
import type { Format } from '../output.ts';
import { printableJson } from '../printable.ts';
import { growingTable } from '../table.ts';

export interface EventsOptions {
  readonly node?: string;
  readonly group?: string;
  readonly event?: readonly string[];
  readonly after?: string;
  readonly follow?: boolean;
  readonly output: Format;
}

/** As much of a message as a line shows; a newer server may have more events, states and members. */
const shownEvent = z.looseObject({
  at: z.string(),
  event: z.string(),
  subject: z.string(),
  state: z.string().nullable(),
  from: z.string().nullable(),
  by: z.string(),
  text: z.string(),
});
type ShownEvent = z.output<typeof shownEvent>;

/** `events`: what happened, or with `--follow` what happens, until Ctrl-C. */
export async function showEvents({ io, server }: CliContext, options: EventsOptions): Promise<void> {
  const { follow = false, output: format } = options;
  const filter = filterOf(options);
  const client = await server();
  const signal = io.interrupted();
  const table = growingTable(['TIME', 'EVENT', 'SUBJECT', 'STATE', 'BY', 'WHAT']);
  const show = (events: readonly ShownEvent[]) =>
    io.out(
      format === 'json'
        ? events.map((event) => `${printableJson(event, 0)}\n`).join('')
        : table(events.map(row)),
    );
  let isConnected = false;
  let isLost = false;
  const lost = (error: Error | null) => {
    if (error !== null && !isConnected) throw error;
    if (!isLost)
      io.err(`assay: ${printable(error?.message ?? 'the server ended the stream')}; trying again\n`);
    isLost = true;
  };
  const after = options.after ?? (follow ? null : '0');
  let waiting: ShownEvent[] = [];
  try {
    for await (const { data } of readEvents(client, { filter, after, isLive: follow, signal, lost })) {
      if (isLost) io.err('assay: the server answers again\n');
      [isConnected, isLost] = [true, false];
      if (data !== null) waiting.push(parsed(data));
      if (waiting.length < (follow ? 1 : partSize)) continue;
      show(waiting);
      waiting = [];
    }
  } catch (error) {
    // Ctrl-C is how it ends.
    if (!signal.aborted) throw error;
  } finally {
    if (waiting.length > 0) show(waiting);
    client.close();
  }
}

/** Lines of a table that come at once stand below each other. */
const partSize = 500;

/** @throws CliError (usage), so that a wrong word asks no server */
function filterOf({ node, group, event, after }: EventsOptions): Readonly<Record<string, string>> {
  const filter = {
    ...(node !== undefined && { node: node.replace(/^nodes?\//, '') }),
    ...(group !== undefined && { group }),
    ...(event !== undefined && { event: event.join(',') }),
  };
  const issue = eventFilter.safeParse(filter).error?.issues[0];
  if (issue !== undefined) {
    const name = issue.path.join('.');
    const hint = name === 'event' ? `Events are ${eventNames.join(', ')}.` : null;
    throw new CliError(`--${name}: ${issue.message}`, hint, exit.usage);
  }
  if (after !== undefined && !/^(evt_\d{1,15}_[0-9a-f]{16}|\d{1,15})$/.test(after))
    throw new CliError(
      `--after ${after} is neither the id of an event nor a number of the audit log`,
      'Take it from id of an event:\n  assay events -o json',
      exit.usage,
    );
  return filter;
}

function parsed(data: string): ShownEvent {
  const { success, data: event } = shownEvent.safeParse(jsonOrNothing(data));
  if (success) return event;
  throw new CliError(
    'the server sent an event of another shape than expected',
    'Use the command line of the same version as the server.',
  );
}

function row({ at, event, subject, state, from, by, text }: ShownEvent): readonly string[] {
  const change = from === null || state === null ? (state ?? '-') : `${from} -> ${state}`;
  return [utc(at), event, subject, change, by, text];
}
