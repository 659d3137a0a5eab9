import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { programs, storyArguments } from './programs.ts';
import { shared } from './swtpm-fixtures/end-of.ts';

const root = join(import.meta.dirname, '..');
const setup = join(root, 'swtpm-fixtures/setup.mjs');

interface Typed {
  readonly command: string;
  /** The lines that README shows below it, without those that it leaves out. */
  readonly shown: readonly string[];
}

/** What README's tour types, in its order. */
function tour(): readonly Typed[] {
  const [, text = ''] =
    /^## A tour[^\n]*$([\s\S]*?)^## /m.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
  return [...text.matchAll(/^```console\n([\s\S]*?)^```/gm)].flatMap(([, block = '']) =>
    block.split(/^\$ /m).flatMap((part) => {
      const [command = '', ...lines] = part.trimEnd().split('\n');
      return command === '' ? [] : [{ command, shown: lines.filter((line) => line.trim() !== '…') }];
    }),
  );
}

/** Without what differs from run to run: times, ages, digests, and how lines are wrapped. */
function lasting(text: string): string {
  return text
    .replace(/^ *\d+\.\d s /gm, '')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z( \([^)]*\))?/g, 'TIME')
    .replace(/\b[0-9a-f]{12}\b/g, 'DIGEST')
    .replace(/(?<=\s|^)>?\d+[smh](?=\s|$)/g, 'AGE')
    .replace(/\s+/g, ' ')
    .trim();
}

describe('the tour in README.md', function () {
  this.timeout(240_000);
  let dir = '';
  let story: ReturnType<typeof typeLine>;
  const ends = new AsyncDisposableStack();
  const typed = tour();

  /** As a shell runs it, in a folder of its own where README has the clone. */
  function typeLine(command: string) {
    const words = command.split(' ');
    const argv = command.startsWith('npm start')
      ? [setup, 'start', '--', ...storyArguments, ...words.slice(3)]
      : [programs.assay, ...words.slice(2)];
    const child = start('env', [`--chdir=${dir}`, process.execPath, ...argv], {
      env: { ...shared, PATH: process.env.PATH ?? '', HOME: dir },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let said = '';
    let heard = () => {};
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (part: string) => {
        said += part;
        heard();
      });
    const code = once(child, 'close').then(([ended]) => Number(ended));
    return {
      code,
      said: () => said,
      write: (text: string) => child.stdin?.write(text),
      async says(what: RegExp): Promise<void> {
        while (!what.test(said)) {
          const more = new Promise<void>((resolve) => {
            heard = resolve;
          });
          await Promise.race([more, code.then(() => assert.match(said, what))]);
        }
      },
      async [Symbol.asyncDispose]() {
        child.kill('SIGINT');
        await code;
      },
    };
  }

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-tour-'));
    ends.defer(() => rm(dir, { recursive: true, force: true }));
    // Named, because it is a folder of the clone otherwise, which may be somebody's.
    story = ends.use(typeLine(`npm start -- --state-dir ${join(dir, '.assay')}`));
    await story.says(/Ctrl-C ends it/);
  });
  after(() => ends.disposeAsync());

  it('is found', () => {
    assert.ok(typed.length >= 8, typed.map(({ command }) => command).join('\n'));
  });

  let lastCode = 0;
  for (const { command, shown } of typed)
    it(`shows what is printed by: ${command}`, async () => {
      if (command === 'echo $?') {
        assert.deepEqual(shown, [String(lastCode)]);
        return;
      }
      if (command.endsWith('why node-1')) {
        story.write('tamper node-1 firewall\n');
        await story.says(/node-1 is UNTRUSTED/);
      }
      const line = typeLine(command);
      lastCode = await line.code;
      const printed = lasting(line.said());
      for (const part of sentences(shown))
        assert.ok(printed.includes(part), `${part}\n\nis not in\n\n${line.said()}`);
    });
});

/** The shown lines, with what was wrapped joined to its line. */
function sentences(lines: readonly string[]): readonly string[] {
  return lines
    .join('\n')
    .replace(/\n {10}(?=\S)/g, ' ')
    .split('\n')
    .map(lasting)
    .filter((line) => line !== '');
}
