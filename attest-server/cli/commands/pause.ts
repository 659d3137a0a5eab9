import { pauseView, resumeAnswer } from '../../api/cluster-api.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { type Format, print } from '../output.ts';

/** `pause --reason R`: no node gets a mark until `resume`. */
export async function pauseMarking(
  { io, server }: CliContext,
  { reason, output: format }: { readonly reason: string; readonly output: Format },
): Promise<void> {
  const paused = await (await server()).post('/v1/cluster/pause', { reason }, pauseView);
  await print(
    io,
    format,
    paused,
    () =>
      `paused by ${printable(paused.by)}: no mark is added, taints stay as they are; a node that loses its trust still loses the label\n`,
  );
}

/** `resume`. */
export async function resumeMarking(
  { io, server }: CliContext,
  { output: format }: { readonly output: Format },
): Promise<void> {
  const answer = await (await server()).post('/v1/cluster/resume', {}, resumeAnswer);
  await print(io, format, answer, () =>
    answer.wasPaused ? 'nodes are marked again\n' : 'nothing was paused\n',
  );
}
