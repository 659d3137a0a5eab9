import type { Ending } from '../api/ending.ts';
import { HttpProblem } from './problem.ts';

/**
 * The moment that a request says, in milliseconds since the epoch, as `now` is.
 * @param longest seconds
 * @throws HttpProblem 400 if it is over already, or too far away
 */
export function endOf({ until, forSeconds = 0 }: Ending, now: number, longest: number): number {
  const end = until === undefined ? now + forSeconds * 1000 : Date.parse(until);
  if (end <= now || end - now > longest * 1000)
    throw new HttpProblem(400, `body.until: must be within the next ${longest / 86_400} days`, {
      code: 'invalid_field',
      field: 'body.until',
    });
  return end;
}
