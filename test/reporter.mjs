import { writeSync } from 'node:fs';
import Mocha from 'mocha';

const { EVENT_RUN_END } = Mocha.Runner.constants;

/** mocha's Spec, which at the end also writes `passed failed skipped` to file descriptor 3, for test/main.ts, and a line for each failure. */
export default class Reporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once(EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      const failed = this.failures.map((test) => `${test.fullTitle().replace(/\s+/g, ' ')}\n`);
      writeSync(3, `${passes} ${failures} ${pending}\n${failed.join('')}`);
    });
  }
}
