import assert from 'node:assert/strict';
import type { Command } from 'commander';
import { describe, it } from 'mocha';
import { createProgram } from '../../../attest-server/cli/program.ts';
import { ioOf, runAssay } from './cli-fixture.ts';
import { callsIn, idleProgram } from './idle-program.ts';

interface Leaf {
  readonly path: readonly string[];
  readonly hidden: boolean;
}

const isHidden = (command: Command) =>
  command.parent !== null && !command.parent.createHelp().visibleCommands(command.parent).includes(command);

function leavesOf(command: Command, path: readonly string[] = []): readonly Leaf[] {
  if (command.commands.length === 0) return [{ path, hidden: isHidden(command) }];
  return command.commands.flatMap((each) => leavesOf(each, [...path, each.name()]));
}

const examplesIn = (help: string) => [...help.matchAll(/^ {2}\$ (.*)$/gm)].map(([, line = '']) => line);

describe('the help of assay', () => {
  const leaves = leavesOf(createProgram(ioOf({}), () => {})).filter(({ hidden }) => !hidden);

  it('groups the commands, one line each, on 80 columns', async () => {
    const { out } = await runAssay(['--help']);
    const [, ...groups] = out.split(/^(?=[A-Z][a-z A-Z]+:$)/m);
    const program = createProgram(ioOf({}), () => {});
    const shown = program.createHelp().visibleCommands(program);
    const listed = groups
      .slice(1, -1)
      .flatMap((group) => group.split('\n').filter((line) => /^ {2}[a-z]/.test(line)));
    assert.equal(listed.length, shown.length);
    assert.deepEqual(
      out.split('\n').filter((line) => line.length > 80),
      [],
    );
    assert.doesNotMatch(out, /^Commands:$/m);
    assert.match(out, /^This program:\n {2}version .*\n {2}completion .*\n {2}help .*\n\n/m);
    for (const line of listed) assert.match(line, / {2}\S.*$/);
  });

  it('has an example for each command, and each family of them', async () => {
    const missing: string[] = [];
    const families = new Set(leaves.flatMap(({ path }) => path.map((_, at) => path.slice(0, at).join(' '))));
    const all = [...families].map((path) => (path === '' ? [] : path.split(' ')));
    for (const path of [...all, ...leaves.map((leaf) => leaf.path)]) {
      const { code, out } = await runAssay([...path, '--help']);
      assert.equal(code, 0);
      if (examplesIn(out).length === 0) missing.push(path.join(' '));
    }
    assert.deepEqual(missing, [], 'write theirs in attest-server/cli/tree/examples.ts');
  });

  for (const name of ['get', 'why', 'describe', 'history', 'attest'])
    it(`is the same of ${name}, which does not wait for the other commands to be declared`, () => {
      const helpOf = (first?: string) => {
        const program = createProgram(ioOf({}), () => {}, first);
        const command = program.commands.find((each) => each.name() === name);
        return [command, ...(command?.commands ?? [])].map((each) => each?.helpInformation());
      };
      assert.deepEqual(helpOf(name), helpOf());
      const declared = (first?: string) => createProgram(ioOf({}), () => {}, first).commands.length;
      assert.ok(declared(name) < declared());
    });

  for (const { path } of leaves)
    it(`shows how to type ${path.join(' ')}, and each example is one of that command that is taken`, async () => {
      const { out } = await runAssay([...path, '--help']);
      for (const line of examplesIn(out)) {
        const ran: string[] = [];
        for (const words of callsIn(line)) await idleProgram(ran).parseAsync([...words], { from: 'user' });
        assert.ok(ran.includes(path.at(-1) ?? ''), line);
      }
    });

  it('keeps no example of a command that is gone', async () => {
    const shown = new Set(examplesIn((await runAssay(['--help'])).out));
    for (const { path } of leaves)
      for (const line of examplesIn((await runAssay([...path, '--help'])).out)) shown.add(line);
    const { exampleLines } = await import('../../../attest-server/cli/tree/examples.ts');
    assert.deepEqual(
      exampleLines().filter((line) => !shown.has(line)),
      [],
    );
  });

  for (const [line, command] of [
    ['get node', 'nodes'],
    ['get no', 'nodes'],
    ['get refs', 'references'],
    ['get reference', 'references'],
    ['get token', 'tokens'],
    ['get join-token', 'join-tokens'],
    ['get policy', 'policy'],
    ['describe nodes node-2', 'node'],
    ['describe node-2', 'node'],
    ['references list', 'list'],
    ['ref list', 'list'],
    ['enroll list', 'list'],
    ['tokens list', 'list'],
    ['policies show', 'show'],
    ['contexts list', 'list'],
  ] as const)
    it(`takes ${line}, as hands that know kubectl type it`, async () => {
      const ran: string[] = [];
      await idleProgram(ran).parseAsync(line.split(' '), { from: 'user' });
      assert.deepEqual(ran, [command]);
    });
});
