import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { CliError, exit } from '../../../attest-server/cli/exit.ts';
import {
  type OutputTemplate,
  parseCustomColumns,
  parseJsonPath,
} from '../../../attest-server/cli/template.ts';

const list = {
  items: [
    { name: 'node-1', state: 'trusted', reason: null, require: ['identity', 'boot'], marks: { 'a.b': 1 } },
    { name: 'node-2', state: 'untrusted', reason: '\u001b[31m\nred', require: [], marks: null },
  ],
  next: null,
};

const parsers: Readonly<Record<string, (text: string) => OutputTemplate>> = {
  'jsonpath=': parseJsonPath,
  'custom-columns=': parseCustomColumns,
};

/** Words of the language in any order, beside any text at all. */
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc
    .array(
      fc.constantFrom(
        ...'{ } {range {end} .items [*] [0] [-1] .name \'a\' "\\n" [ ] . $ : , NAME'.split(' '),
      ),
      {
        maxLength: 20,
      },
    )
    .map((words) => words.join('')),
);

describe('templates of the output', () => {
  for (const [format, parse] of Object.entries(parsers))
    it(`${format} takes any text, and prints something or says what is wrong with it`, () => {
      fc.assert(
        fc.property(text, fc.jsonValue(), (given, value) => {
          try {
            const template = parse(given);
            for (const each of [value, list]) assert.equal(typeof template(each, true), 'string');
          } catch (error) {
            assert.ok(error instanceof CliError && error.exitCode === exit.usage, String(error));
          }
        }),
        { numRuns: 2000 },
      );
    });

  const shown: readonly (readonly [template: string, printed: string])[] = [
    ['{.items[*].name}', 'node-1 node-2'],
    ['{.items[0].name} {$.items[-1].name}', 'node-1 node-2'],
    ['{range .items[*]}{.name}{"\\t"}{.state}{"\\n"}{end}', 'node-1\ttrusted\nnode-2\tuntrusted\n'],
    ['{range .items[*]}{range .require[*]}{.}{" "}{end}{end}', 'identity boot '],
    ["{.items[*].marks['a.b']}", '1'],
    ['{.items[0].require}{.next}', '["identity","boot"]null'],
    ['{.nothing.there}', ''],
    ['{.items[1].reason}', '\\u001b[31m\\u000ared'],
  ];
  for (const [template, printed] of shown)
    it(`${template} prints what kubectl would, and nothing that a terminal obeys`, () => {
      assert.equal(parseJsonPath(template)(list, true), printed);
    });

  it('makes columns, with <none> where nothing is', () => {
    const columns = parseCustomColumns('NAME:.name,NEEDS:.require[*],MARK:.marks.a,WHY:reason');
    assert.deepEqual(
      columns(list, true)
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/ {2,}/)),
      [
        ['NAME', 'NEEDS', 'MARK', 'WHY'],
        ['node-1', 'identity,boot', '<none>', 'null'],
        ['node-2', '<none>', '<none>', '\\u001b[31m\\u000ared'],
      ],
    );
    assert.equal(parseCustomColumns('NAME:.name')(list.items[0], false), 'node-1\n');
  });

  for (const wrong of ['', '{', '{.a', '{end}', '{range .a}', '{.a[}', '{.a[?(@.b)]}', '{"a}', '{}', '{..a}'])
    it(`says what is wrong with ${wrong || 'nothing'}`, () => {
      assert.throws(() => parseJsonPath(wrong), CliError);
    });
  for (const wrong of ['', 'NAME', ':.name', 'NAME:', 'NAME:.name,', 'NAME:.['])
    it(`says what is wrong with the columns ${wrong || 'of nothing'}`, () => {
      assert.throws(() => parseCustomColumns(wrong), CliError);
    });
});
