import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { storyArguments } from '../programs.ts';
import { shared } from './end-of.ts';
import { occupy } from './occupy.ts';

const setup = join(import.meta.dirname, '../../swtpm-fixtures/setup.mjs');

describe('npm start at a terminal', function () {
  this.timeout(120_000);
  /** The state of the run before, as somebody who types it again has it. */
  let dir = '';
  const options = () => ['start', '--', '--state-dir', dir, ...storyArguments];
  const command = () => [process.execPath, setup, ...options()].join(' ');
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-terminal-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('takes free ports where the usual ones are taken, shows the nodes in place, and says on Ctrl-C what is kept', async () => {
    await using taken = new AsyncDisposableStack();
    for (const port of [8443, 8444, 9464]) taken.use(await occupy(port));
    await using terminal = openTerminal(`exec ${command()} --cluster`, 'xterm');
    await terminal.shows(/NAME +STATE +REASON\r\nnode-1 +pending/);
    await terminal.shows(erased(5));
    await terminal.shows(/NAME +STATE +REASON\r\nnode-1 +trusted +-\r\nnode-2 +untrusted +kernel_unknown/);
    await terminal.shows(/kubectl --kubeconfig \S+\/kubeconfig describe nodes[\s\S]*Ctrl-C ends it/);
    terminal.type('\x03');
    assert.equal(await terminal.ended, 0, terminal.said());
    assert.match(terminal.said(), /Ended\. (\S+) is kept: .* goes on with it, `rm -r \1` removes it\./);
  });

  it('ends quietly where its reader has seen enough', async () => {
    const child = start(process.execPath, [setup, ...options()], {
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
    /** It looks now and then where it is; until then it reads nothing. */
    const answers = async () => {
      const asking = setInterval(() => terminal.type('help\n'), 100);
      await terminal.shows(/Type: tamper NODE/).finally(() => clearInterval(asking));
    };
    terminal.type(`${command()} &\n`);
    await terminal.shows(/It runs in the background/);
    terminal.type('echo as""is; jobs\n');
    await terminal.shows(/^asis\r?$/m);
    await terminal.shows(/^\[1\]\+ +Running/m);
    terminal.type('fg\n');
    await answers();
    terminal.type('\x1a');
    await terminal.shows(/^\[1\]\+ +Stopped/m);
    terminal.type('bg; echo be""hind; sleep 1; jobs\n');
    await terminal.shows(/^behind\r?$/m);
    await terminal.shows(/^\[1\]\+ +Running/m);
    terminal.type('fg\n');
    await answers();
    terminal.type('\x03');
    // Until the shell is back, what is typed may still be read by the other.
    await terminal.shows(/\^C[\s\S]*\$ $/);
    terminal.type('exit $?\n');
    assert.equal(await terminal.ended, 0);
  })
    // Two programs read one terminal in turns: what is typed between two turns may be read by nobody.
    .timeout(60_000)
    .retries(2);
});

/** What takes this many lines and all below them off the terminal. */
function erased(lines: number): RegExp {
  const esc = '\u001b';
  return new RegExp(`${esc}\\[${lines}A${esc}\\[J`);
}

/** A terminal of its own, in which this command is the foreground. */
function openTerminal(command: string, kind = 'dumb') {
  const child = start('script', ['--quiet', '--flush', '--return', '--command', command, '/dev/null'], {
    env: { ...shared, PATH: process.env.PATH ?? '', TERM: kind, PS1: '$ ' },
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
    /** What was not looked at yet. */
    said: () => said,
    ended,
    type: (text: string) => child.stdin?.write(text),
    /** Resolves once this is shown, behind what was seen before. */
    async shows(what: RegExp): Promise<void> {
      const early = ended.then(() => Promise.reject(new Error(said)));
      let seen: RegExpExecArray | null;
      for (;;) {
        seen = what.exec(said);
        if (seen !== null) break;
        const more = new Promise<void>((resolve) => {
          heard = resolve;
        });
        await Promise.race([more, early]);
      }
      early.catch(() => {});
      said = said.slice(seen.index + seen[0].length);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
