import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { runAssay } from './attest-server/cli/cli-fixture.ts';

const root = join(import.meta.dirname, '..');

/** Each command line that begins with `assay`, in code of a page; what stands for several (`hold|release`, `[GROUP...]`) is left out. */
function commandsIn(text: string): readonly string[] {
  const blocks = [...text.matchAll(/^```(?:sh|console)?\n([\s\S]*?)^```/gm)].map(([, block = '']) => block);
  const spans = [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)].map(
    ([, span = '']) => span,
  );
  const lines = [...blocks.flatMap((block) => block.replace(/\\\n\s*/g, ' ').split('\n')), ...spans];
  return lines.flatMap((line) => {
    const [, found] =
      /(?:^\s*|^[\w ]+[#$] |[$;&|] |\$\(|-- )(assay [a-z].*)$/.exec(line.replace(/\s#.*$/, '')) ?? [];
    if (found === undefined || /\[[a-z-]|\.\.\.|^assay [\w-]+ ?[\w-]*\|/.test(found)) return [];
    return found.split(/ [|&;>]|\)(?:\s|$)| < /)[0] ?? [];
  });
}

describe('the documents', () => {
  it('are found to type what is no command', async () => {
    assert.deepEqual(
      commandsIn('Type `assay whyy NODE` and\n```sh\nkubectl exec x -- assay get nodes > f\n```\n'),
      ['assay get nodes', 'assay whyy NODE'],
    );
    assert.notEqual(await faultOf('assay whyy NODE'), null);
    assert.notEqual(await faultOf('assay breaker nope'), null);
    assert.notEqual(await faultOf('assay why NODE --wyh'), null);
    assert.equal(await faultOf('assay why NODE --utc'), null);
  });

  it('install by the command that can be typed again', () => {
    const pages = globSync(
      '{*,docs/*,docs/runbooks/*,manifests/*,manifests/chart/*,manifests/chart/templates/*}.{md,txt}',
      {
        cwd: root,
      },
    );
    const typed = pages.flatMap((page) =>
      readFileSync(join(root, page), 'utf8')
        .split('\n')
        .filter((line) => /\bhelm (install|upgrade) (?!--install\b)/.test(line))
        // These are for a release that is there, whose values they go on with.
        .filter((line) => !/helm upgrade assay .*--reset-then-reuse-values/.test(line))
        .map((line) => `${page}: ${line}`),
    );
    assert.deepEqual(typed, []);
    assert.ok(
      pages.some((page) => readFileSync(join(root, page), 'utf8').includes('helm upgrade --install ')),
    );
  });

  for (const page of globSync('{*,docs/*,docs/runbooks/*,manifests/*,manifests/chart/*}.md', {
    cwd: root,
  }).sort())
    it(`${page} types commands that there are, with options that they have`, async () => {
      const faults: string[] = [];
      for (const command of new Set(commandsIn(readFileSync(join(root, page), 'utf8')))) {
        const fault = await faultOf(command);
        if (fault !== null) faults.push(fault);
      }
      assert.deepEqual(faults, []);
    });
});

/** What is wrong with a line; null where its command and its options are known. */
async function faultOf(command: string): Promise<string | null> {
  const words = command.split(/\s+/).slice(1);
  const path = words.slice(0, words.findIndex((word) => !/^[a-z][a-z-]*$/.test(word)) >>> 0);
  const { code, out } = await runAssay([...path, '--help']);
  // Where nothing has that name, the help is that of what is above it.
  const [, usage = ''] = /^Usage: assay (.*)$/m.exec(out) ?? [];
  const names = (usage.split(/ ?[[<]/)[0] ?? '').split(' ').map((name) => name.split('|'));
  const isAbove = usage.includes('[command]') && path.length > names.length;
  if (code !== 0 || isAbove || !names.every((known, at) => known.includes(path[at] ?? ''))) return command;
  // The page of a command names its parent's options, or its own.
  const options = `${out}${(await runAssay(['--help'])).out}`;
  const unknown = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.replace(/=.*/, ''));
  return unknown.every((option) => new RegExp(`${option}[ ,\\n]`).test(options)) ? null : command;
}
