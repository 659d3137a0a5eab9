import { writeSync } from 'node:fs';
import { relative } from 'node:path';
import Mocha from 'mocha';
import { between, sum, timeSpent } from './time-spent.ts';

const { EVENT_RUN_END, EVENT_SUITE_BEGIN, EVENT_SUITE_END, EVENT_TEST_PENDING } = Mocha.Runner.constants;

/** mocha's Spec, which at the end also writes its totals as one line of JSON to file descriptor 3, for test/mocha-process.ts. */
export default class Reporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    /** What each file took, from the begin of its groups to their end. */
    const files = {};
    let begun = timeSpent();
    runner.on(EVENT_SUITE_BEGIN, (suite) => {
      if (suite.parent?.root) begun = timeSpent();
    });
    runner.on(EVENT_SUITE_END, (suite) => {
      if (!suite.parent?.root) return;
      const file = relative(process.cwd(), suite.file);
      const took = between(begun, timeSpent());
      files[file] = file in files ? sum(files[file], took) : took;
    });
    const titleOf = (test) => test.fullTitle().replace(/\s+/g, ' ');
    const skips = [];
    runner.on(EVENT_TEST_PENDING, (test) => skips.push(titleOf(test)));
    runner.once(EVENT_RUN_END, () => {
      const { passes: passed, failures: failed } = this.stats;
      // The text of a failure is far above, where a log keeps only its end.
      const failures = this.failures.map((test) => `${titleOf(test)}: ${firstLines(test.err)}`);
      writeSync(3, JSON.stringify({ passed, failed, skips, failures, files }));
    });
  }
}

/** Two lines of what was thrown, and where. */
function firstLines(thrown) {
  const [message, place] = [
    thrown?.message ?? String(thrown),
    /^ +at .*\.test\.ts.*$/m.exec(thrown?.stack ?? ''),
  ];
  const said = message.split('\n', 2).join(' ').slice(0, 300);
  return place === null ? said : `${said} ${place[0].trim()}`;
}
