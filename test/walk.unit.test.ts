import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';

interface Station {
  readonly file: string;
  readonly name: string;
  /** The word by which its caller calls it. */
  readonly called: string;
  readonly isRunner: boolean;
  readonly caller: Station | null;
}

const root = new URL('../', import.meta.url);
const read = (file: string) => readFileSync(new URL(file, root), 'utf8');

/** The stations of a tree of calls: of each indented line the caller is the last one before it that is indented less. */
function stationsIn(tree: string): readonly Station[] {
  const stations: Station[] = [];
  const callers: { readonly depth: number; readonly station: Station }[] = [];
  let file = '';
  for (const line of tree.trimEnd().split('\n')) {
    const [, indent = '', name = '', port, star, named = file] =
      /^( *)([#\w]+)(?: \[(\w+)\])?( \*)?(?: +(\S+\.ts))?$/.exec(line) ?? assert.fail(`no station: ${line}`);
    file = named;
    while ((callers.at(-1)?.depth ?? -1) >= indent.length) callers.pop();
    const caller = callers.at(-1)?.station ?? null;
    const station = { file, name, called: port ?? name, isRunner: star !== undefined, caller };
    callers.push({ depth: indent.length, station });
    stations.push(station);
  }
  return stations;
}

/** The text of a function, from its name to its end, as the formatter indents it; empty if the file has none of that name. */
function bodyOf(source: string, name: string): string {
  const lines = source.split('\n');
  const words = '(?:export |private |static |async |const |function\\*? |\\*)*';
  const begin = new RegExp(
    `^(?!.*;$)( *)${words}${name}(?:<.*>)?(?:\\(|: \\(| = |: .* = )(?:.*(?:\\{|=>.*)|[^)]*)$`,
  );
  const at = lines.findIndex((line) => begin.test(line));
  const indent = lines[at]?.search(/\S/) ?? 0;
  const isOver = (line: string) => line.trim() !== '' && line.search(/\S/) <= indent && !/^ *[)>]/.test(line);
  const rest = lines.slice(at + 1);
  const length = rest.findIndex(isOver);
  return at < 0 ? '' : [lines[at], ...rest.slice(0, length)].join('\n');
}

const calls = (body: string, name: string) => new RegExp(`(?<![\\w#])${name}\\(`).test(body);

/** What of these lines is not so in the code. */
function faultsIn(stations: readonly Station[], source: (file: string) => string): readonly string[] {
  return stations.flatMap(({ file, name, called, caller }) => {
    if (bodyOf(source(file), name) === '') return [`${file} has no function ${name}`];
    if (caller === null) return [];
    const body = bodyOf(source(caller.file), caller.name);
    const [, ...within] = body.split(caller.name);
    return calls(within.join(caller.name), called)
      ? []
      : [`${caller.name} of ${caller.file} calls no ${called}`];
  });
}

describe('the way of one answer', () => {
  const [, text = '', tree = ''] =
    /## The way of one answer\n([^`]*`[^`]*`[^`]*)```text\n([^`]*)```/.exec(read('CONTRIBUTING.md')) ?? [];
  const stations = stationsIn(tree);

  it('is in the code as CONTRIBUTING.md has it, each function called by the one that it stands below', () => {
    assert.deepEqual(faultsIn(stations, read), []);
  });

  it('has as many stations as are told there', () => {
    const said = text.match(/\d+/g)?.map(Number);
    const different = new Map(stations.map((station) => [`${station.file} ${station.name}`, station]));
    assert.equal(different.size, stations.length, 'each once');
    assert.deepEqual(said, [stations.length, stations.filter(({ isRunner }) => isRunner).length]);
  });

  it('is found wrong where a station is renamed, and where another function comes between two', () => {
    for (const { file, name, called, caller } of stations) {
      const renamed = faultsIn(stations, (asked) =>
        asked === file
          ? read(asked).replaceAll(new RegExp(`(?<![\\w#])${name}(?![\\w])`, 'g'), 'another')
          : read(asked),
      );
      assert.notDeepEqual(renamed, [], `${name} of ${file}`);
      if (caller === null) continue;
      const between = faultsIn(stations, (asked) =>
        asked === caller.file
          ? read(asked).replaceAll(new RegExp(`(?<![\\w#])${called}\\(`, 'g'), 'between(')
          : read(asked),
      );
      assert.notDeepEqual(between, [], `${called} below ${caller.name}`);
    }
  });
});
