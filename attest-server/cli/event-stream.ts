import { setTimeout as delay } from 'node:timers/promises';
import { type Client, mayPass } from './client.ts';

/** One block of Server-Sent Events; both are null in one of comments alone. */
export interface EventBlock {
  readonly id: string | null;
  readonly data: string | null;
}

export interface StreamOptions {
  readonly filter: Readonly<Record<string, string>>;
  /** The id of an event, or a number of the audit log, behind which it begins; null: it begins with what happens from now on. */
  readonly after: string | null;
  /** False: it ends with what happened until now. */
  readonly isLive: boolean;
  readonly signal: AbortSignal;
  /** Called before it connects again; what it throws ends the stream. @param error null: the server ended it */
  readonly lost: (error: Error | null) => void;
}

/** Milliseconds before it connects again: each wait is twice the one before, until something comes. */
const firstWait = 1000;
const longestWait = 30_000;

/** The stream of events, which goes on where it was when a connection is lost. @throws CliError where that cannot help */
export async function* readEvents(client: Client, options: StreamOptions): AsyncGenerator<EventBlock> {
  const { filter, after, isLive, signal, lost } = options;
  let last: EventBlock['id'] = null;
  for (let wait = firstWait; ; wait = Math.min(wait * 2, longestWait)) {
    const query = new URLSearchParams({
      ...filter,
      ...(last === null && after !== null && { after }),
      ...(!isLive && { follow: 'false' }),
    });
    const headers: Record<string, string> = last === null ? {} : { 'last-event-id': last };
    try {
      const lines = client.lines(`/v1/events?${query}`, { headers, signal });
      for await (const block of blocksOf(lines)) {
        if (block.id !== null) {
          last = block.id;
          wait = firstWait;
        }
        yield block;
      }
      if (!isLive) return;
      lost(null);
    } catch (error) {
      if (signal.aborted || !mayPass(error)) throw error;
      lost(error);
    }
    await delay(wait, undefined, { signal });
  }
}

/** As the HTML standard has it, of what the server sends: one line of data in a block. */
async function* blocksOf(lines: AsyncIterable<string>): AsyncGenerator<EventBlock> {
  let [id, data]: (string | null)[] = [null, null];
  for await (const line of lines) {
    if (line.startsWith('id: ')) id = line.slice('id: '.length);
    else if (line.startsWith('data: ')) data = line.slice('data: '.length);
    else if (line === '') {
      yield { id: id ?? null, data: data ?? null };
      [id, data] = [null, null];
    }
  }
}
