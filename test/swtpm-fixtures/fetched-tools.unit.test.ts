import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'mocha';

const root = join(import.meta.dirname, '..', '..');
// Set-up runs before anything is installed: it is plain JavaScript, without types.
const setUp: { fetchedTools(root: string, args: readonly string[]): unknown } = await import(
  join(root, 'swtpm-fixtures/set-up/fetched-tools.mjs')
);

describe('what the set-up fetches for npm test -- ARGUMENTS', () => {
  for (const { args, prometheus, kubernetes } of [
    { args: [], prometheus: true, kubernetes: true },
    { args: ['unit'], prometheus: true, kubernetes: true },
    { args: ['--grep', 'a'], prometheus: true, kubernetes: true },
    { args: ['test/manifests/*.unit.test.ts'], prometheus: true, kubernetes: true },
    { args: ['test/manifests'], prometheus: true, kubernetes: true },
    { args: ['test/agent'], prometheus: false, kubernetes: false },
    { args: ['test/agent/', '--grep', 'a'], prometheus: false, kubernetes: false },
    { args: [join(root, 'test/words.unit.test.ts')], prometheus: false, kubernetes: false },
    { args: ['test/manifests/prometheus.e2e.test.ts'], prometheus: true, kubernetes: false },
    { args: ['test/manifests/notes.unit.test.ts'], prometheus: false, kubernetes: true },
    // By way of a file that both import.
    { args: ['test/manifests/hooks.unit.test.ts'], prometheus: false, kubernetes: true },
    { args: ['test/agent', 'test/nope.unit.test.ts'], prometheus: true, kubernetes: true },
  ])
    it(`is ${[prometheus && 'Prometheus', kubernetes && 'Helm'].filter(Boolean).join(' and ') || 'nothing'} for ${args.join(' ') || 'all'}`, () => {
      assert.deepEqual(setUp.fetchedTools(root, args), { prometheus, kubernetes });
    });
});
