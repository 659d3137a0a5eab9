import { parentPort } from 'node:worker_threads';
import { type ParserList, parserOf } from './fuzzed-parser.ts';
import { InputSlot } from './input-slot.ts';
import { outcomeOf } from './outcome.ts';

/** What this thread is given: an input that held or killed another one. */
interface OneInput {
  readonly list: string;
  readonly parser: string;
  readonly bytes: Uint8Array;
  readonly slot: SharedArrayBuffer;
}

parentPort?.once('message', async (task: OneInput) => {
  const { parsers }: { parsers: ParserList } = await import(task.list);
  const parser = await parserOf(parsers, task.parser);
  const slot = new InputSlot(task.slot);
  const bytes = Buffer.from(task.bytes);
  slot.begin(bytes);
  await outcomeOf(parser, bytes);
  slot.end();
});
