import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { compiledIn, sources } from '../swtpm-fixtures/programs.ts';

const root = join(import.meta.dirname, '..');

/** Why each names a source all the same. */
const excused: Readonly<Record<string, string>> = {
  'test/swtpm-fixtures/pack.images.test.ts': 'compares what is packed with its source',
  'test/toy/toy-aspect.swtpm.test.ts': 'starts a copy of the tree, to which it added two files',
  'test/databases/record.ts': 'starts another tree',
  'test/databases/record-passed.ts': 'starts two other trees',
  'test/generated/schemas.ts': 'writes what sources print',
  'test/recorded/recorded.e2e.test.ts': 'starts the program beside it, which is a test itself',
  'test/bench/start.ts': 'measures both',
  'test/bench/agent.ts': 'measures the source unless it is told otherwise',
};

describe('the programs that tests start', () => {
  it('are there as sources', () => {
    for (const [name, file] of Object.entries(sources)) assert.ok(existsSync(file), name);
  });

  it('have the names that the build gives them', () => {
    const build = readFileSync(join(root, 'swtpm-fixtures/set-up/build.ts'), 'utf8');
    const commands = /const commands = \{([^}]*)\}/.exec(build)?.[1] ?? '';
    const made = [...commands.matchAll(/'?([\w-]+)'?: '([\w.-]+)'/g)].map(([, name, file]) => [name, file]);
    const named = Object.entries(compiledIn('/dist')).map(([name, file]) => [
      name,
      file.slice('/dist/'.length),
    ]);
    assert.deepEqual(
      made.filter(([name]) => name !== 'kubectl-assay'),
      named,
    );
  });

  it('are chosen in one place by every test that starts a whole program', () => {
    const files = globSync('test/**/*.ts', { cwd: root }).filter(
      (file) => !/\.(unit|property|vectors)\.test\.ts$/.test(file) && excused[file] === undefined,
    );
    assert.ok(files.length > 100);
    const program = /['"/](agent|attest-server|cli|aws|gce)\/main\.ts['"]|['"]main\.ts['"]|assay\.mjs['"]/;
    const own = files.filter((file) =>
      readFileSync(join(root, file), 'utf8')
        .split('\n')
        .some((line) => !/^\s*(import|\} from) /.test(line) && program.test(line)),
    );
    assert.deepEqual(own, []);
  });
});
