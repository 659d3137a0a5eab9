/**
 * Notices what changed on the node, by plain reads once a second: a file for each thing, in one list (`list`):
 * `mounts`, `mappings`, `inspected`, `listeners`. Events of the firewall come from `netfilter`.
 */

import pLimit from 'p-limit';
import type { Logger } from '../logger.ts';

/** One thing that is looked at by plain reads: no process, nothing that waits. */
export interface WatchedSource {
  /** The word for the server if it changed. */
  readonly what: string;
  /** From one look to the next. */
  readonly everySeconds: number;
  /**
   * A text that is another one after a change; null while nobody asks for it. What cannot be read is a text
   * as well, so that this is reported too.
   */
  look(): string | null | Promise<string | null>;
}

/** Repeated changes: the first three are reported at once, then one in five seconds. */
const burst = 3;
const oneInSeconds = 5;

export interface Watch extends Disposable {
  /** Looks now, and once more after a look that is under way: before an answer about something that is new to it. */
  look(): Promise<void>;
}

/** Looks once a second, until it is disposed of. */
export function startWatch(
  list: readonly WatchedSource[],
  note: (what: string) => void,
  logger: Logger,
): Watch {
  const lookOnce = lookout(list, note, (what, error) =>
    logger.warn(
      { code: 'watch', what, text: error instanceof Error ? error.message : String(error) },
      'what changes here is not seen at once, only by the next challenge',
    ),
  );
  let timer: NodeJS.Timeout;
  let isOver = false;
  const inTurn = pLimit(1);
  const look = () => inTurn(lookOnce);
  const next = () => {
    timer = setTimeout(() => void look().finally(() => isOver || next()), 1_000).unref();
  };
  void look().finally(() => isOver || next());
  return {
    look,
    [Symbol.dispose]() {
      isOver = true;
      clearTimeout(timer);
    },
  };
}

/** @returns to be called each second; the first call only sees how things are */
export function lookout(
  list: readonly WatchedSource[],
  note: (what: string) => void,
  fault: (what: string, error: unknown) => void,
): () => Promise<void> {
  const states = list.map(
    (each): SourceState => ({ watched: each, seen: null, isChanged: false, credit: burst, told: '' }),
  );
  let second = -1;
  return async () => {
    second += 1;
    for (const state of states) {
      state.credit = Math.min(burst, state.credit + 1 / oneInSeconds);
      if (second % state.watched.everySeconds === 0) await lookAt(state, fault);
      if (!state.isChanged || state.credit < 1) continue;
      state.credit -= 1;
      state.isChanged = false;
      note(state.watched.what);
    }
  };
}

interface SourceState {
  readonly watched: WatchedSource;
  /** Null before the first look, and while nobody asks for it. */
  seen: string | null;
  /** It changed, and that is not reported yet. */
  isChanged: boolean;
  credit: number;
  /** The last fault that was reported. */
  told: string;
}

async function lookAt(state: SourceState, fault: (what: string, error: unknown) => void): Promise<void> {
  let now: string | null;
  try {
    const looked = state.watched.look();
    now = looked instanceof Promise ? await looked : looked;
  } catch (error) {
    now = `unreadable: ${error instanceof Error && 'code' in error ? String(error.code) : 'fault'}`;
    if (state.told !== now) fault(state.watched.what, error);
    state.told = now;
  }
  if (state.seen !== null && now !== null && state.seen !== now) state.isChanged = true;
  state.seen = now;
}
