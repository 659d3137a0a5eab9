import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { storyArguments } from '../programs.ts';
import { shared } from './end-of.ts';
import { occupy } from './occupy.ts';

const setup = join(import.meta.dirname, '../../swtpm-fixtures/setup.mjs');

describe('npm start at a terminal', function () {
  this.timeout(120_000);
  let dir = '';
  let command = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-terminal-'));
    command = [process.execPath, setup, ...story()].join(' ');
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const story = () => ['start', '--', '--state-dir', dir, ...storyArguments];

  it('takes free ports where the usual ones are taken, and ends on Ctrl-C', async () => {
    await using taken = new AsyncDisposableStack();
    for (const port of [8443, 8444, 9464]) taken.use(await occupy(port));
    await using terminal = openTerminal(`exec ${command} --cluster`);
    await terminal.shows(/kubectl --kubeconfig \S+\/kubeconfig describe nodes[\s\S]*Ctrl-C ends it/);
    terminal.type('\x03');
    assert.equal(await terminal.ended, 0, terminal.said());
  });

  it('ends quietly where its reader has seen enough', async () => {
    const child = start(process.execPath, [setup, ...story()], {
      env: shared,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let complaints = '';
    child.stderr?.on('data', (text: Buffer) => {
      complaints += String(text);
    });
    const ended = once(child, 'close');
    child.stdout?.once('data', () => child.stdout?.destroy());
    assert.deepEqual([await ended, complaints], [[0, null], '']);
  });

  it('leaves what is typed to the shell while it is in the background, and obeys it in the foreground', async () => {
    await using terminal = openTerminal('bash --norc -i');
    terminal.type(`${command} &\n`);
    await terminal.shows(/It runs in the background/);
    terminal.type('echo as""is; jobs\n');
    await terminal.shows(/^asis\r?$/m);
    await terminal.shows(/^\[1\]\+ +Running/m);
    terminal.type('fg\n');
    const usage = terminal.shows(/Type: tamper NODE/);
    // It looks now and then where it is.
    const asking = setInterval(() => terminal.type('help\n'), 300);
    await usage.finally(() => clearInterval(asking));
    terminal.type('\x1a');
    await terminal.shows(/^\[1\]\+ +Stopped/m);
    terminal.type('bg; echo be""hind; sleep 2; jobs\n');
    await terminal.shows(/^behind\r?$[\s\S]*^\[1\]\+ +Running/m);
    terminal.type('fg\n');
    await terminal.shows(/^behind\r?$[\s\S]*fg\r?\n[\s\S]*start -- --state-dir/m);
    terminal.type('\x03');
    await terminal.shows(/\^C/);
    terminal.type('exit $?\n');
    await terminal.ended;
  });
});

/** A terminal of its own, in which this command is the foreground. */
function openTerminal(command: string) {
  const child = start('script', ['--quiet', '--flush', '--return', '--command', command, '/dev/null'], {
    env: { ...shared, PATH: process.env.PATH ?? '', TERM: 'dumb', PS1: '$ ' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let said = '';
  let heard = () => {};
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    heard();
  });
  const ended = once(child, 'exit').then(([code]) => Number(code));
  return {
    said: () => said,
    ended,
    type: (text: string) => child.stdin?.write(text),
    async shows(what: RegExp): Promise<void> {
      const early = ended.then(() => Promise.reject(new Error(said)));
      while (!what.test(said)) {
        const more = new Promise<void>((resolve) => {
          heard = resolve;
        });
        await Promise.race([more, early]);
      }
      early.catch(() => {});
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
