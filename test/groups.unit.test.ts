import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { endOf } from './swtpm-fixtures/end-of.ts';

const program = join(import.meta.dirname, 'main.ts');
const run = (...args: readonly string[]) => endOf([program, 'test', ...args], {});

describe('npm test -- ARGUMENTS', () => {
  it('says which groups there are where one is named that is none, and runs nothing', async () => {
    for (const args of [['nope'], ['unit', 'nope'], ['test/agent'], ['nope', '--grep', 'x']]) {
      const { code, stdout, stderr } = await run(...args);
      assert.deepEqual([code, stdout], [2, ''], stderr);
      assert.match(
        stderr,
        /^no such group: (nope|test\/agent); .*\bunit, property, vectors, swtpm, e2e, vm, cluster\b/,
      );
    }
  });

  it('says so where a file is named that is not there', async () => {
    const { code, stdout, stderr } = await run('test/nope.unit.test.ts');
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /^no such file: test\/nope\.unit\.test\.ts;/);
  });

  it('runs files by their path or a pattern, with the options of mocha', async () => {
    for (const file of ['test/attack-rows.unit.test.ts', 'test/attack-row*.test.ts']) {
      const { code, stdout } = await run('--grep', 'nothing is called that', file);
      assert.deepEqual([code, stdout.trimEnd().split('\n').at(-1)], [0, '0 passed, 0 failed, 0 skipped']);
    }
  });
});
