import type { CliIo } from './io.ts';

/** Between two lines about how far a command is, in milliseconds; a short one shows none. */
const every = 5_000;

/** Tells on standard error how many entries were read so far. @param told what is to be done besides, each time */
export function createProgress(io: CliIo, told: () => void = () => {}): (entries: number) => void {
  let next = performance.now() + every;
  let calls = 0;
  return (entries) => {
    // The clock costs more than the rest.
    calls += 1;
    if (calls % 256 !== 0 || performance.now() < next) return;
    next = performance.now() + every;
    io.err(`assay: ${entries} entries so far\n`);
    told();
  };
}
