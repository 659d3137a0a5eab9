import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { ConfigError, type ConfigFault } from '../../../attest-server/settings/config-error.ts';
import { parseConfigFile, readConfigFile } from '../../../attest-server/settings/config-file.ts';
import {
  type Contradiction,
  ignoredSettings,
  resolveSettings,
  type SettingFlags,
} from '../../../attest-server/settings/settings.ts';

const settings = {
  name: {
    variable: 'T_NAME',
    schema: z
      .string()
      .regex(/^[a-z]+$/, 'not a name')
      .describe('who'),
  },
  ports: {
    variable: 'T_PORTS',
    schema: z.array(z.int('not a port').max(9, 'not a port')).default([]).describe('which'),
  },
  size: {
    variable: 'T_SIZE',
    flag: '--size',
    schema: z.int('not a size').default(1).describe('how much'),
  },
  'inner.on': { variable: 'T_ON', schema: z.boolean('not true or false').default(false).describe('whether') },
  'inner.name': { variable: 'T_INNER', schema: z.string().nullable().default(null).describe('which') },
} as const;

const resolve = (
  text: string | null,
  environment: Record<string, string> = {},
  flags: SettingFlags<typeof settings> = {},
  contradictions: readonly Contradiction<typeof settings>[] = [],
) =>
  resolveSettings(
    settings,
    { file: text === null ? null : parseConfigFile(text, 't.yaml'), environment, flags },
    () => contradictions,
  );

function errorOf(attempt: () => unknown): ConfigError {
  try {
    attempt();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  return assert.fail('nothing was wrong');
}

const places = (faults: readonly ConfigFault[]) => faults.map(({ key, line }) => [key, line]);

describe('the settings of a program', () => {
  it('are those of the flags, the environment, the file, and else the defaults', () => {
    const text = 'name: file\nsize: 2\ninner: {on: true, name: file}\n';
    assert.deepEqual(resolve(text, { T_SIZE: '3', T_INNER: 'env' }, { size: '4' }), {
      name: 'file',
      ports: [],
      size: 4,
      'inner.on': true,
      'inner.name': 'env',
    });
  });

  it('are read from text as what they are', () => {
    const { size, 'inner.on': on } = resolve(null, { T_NAME: 'a', T_SIZE: ' 7 ', T_ON: 'yes' });
    assert.deepEqual([size, on], [7, true]);
    for (const T_SIZE of [' ', '0x10', '1e3', 'NaN', '7.5'])
      assert.deepEqual(places(errorOf(() => resolve(null, { T_NAME: 'a', T_SIZE })).faults), [
        ['size', null],
      ]);
  });

  it('may still have a key of the version before, which says nothing and is warned of', () => {
    const former = {
      'inner.old': { variable: 'T_OLD', instead: 'it is 3' },
      'gone.old': { variable: 'T_GONE_OLD', instead: 'it is 4' },
      old: { variable: 'T_TOP', instead: 'it is 5' },
    };
    const of = (text: string, environment: Record<string, string> = {}) => {
      const sources = { file: parseConfigFile(text, 't.yaml'), environment, flags: {} };
      const values = resolveSettings(settings, sources, () => [], former);
      return [values, ignoredSettings(former, sources).map(({ key, file, line }) => [key, file, line])];
    };
    const plain = of('name: a\ninner: {on: true}\n');
    assert.deepEqual(plain[1], []);
    const [values, ignored] = of(
      'name: a\ninner:\n  on: true\n  old: [what, ever]\ngone: {old: }\nold: null\n',
    );
    assert.deepEqual(values, plain[0]);
    assert.deepEqual(ignored, [
      ['inner.old', 't.yaml', 4],
      ['gone.old', 't.yaml', 5],
      ['old', 't.yaml', 6],
    ]);
    assert.deepEqual(of('name: a\n', { T_TOP: '9', T_OLD: '' })[1], [['old', null, null]]);
    // Beside it all is refused as ever, and it is suggested to nobody.
    const refused = (text: string) =>
      errorOf(() =>
        resolveSettings(
          settings,
          { file: parseConfigFile(text, 't.yaml'), environment: {}, flags: {} },
          () => [],
          former,
        ),
      ).faults;
    assert.deepEqual(places(refused('name: a\ngone: {older: 1}\nold.x: 1\n')), [
      ['gone.older', 2],
      ['old.x', 3],
    ]);
    for (const { text } of refused('name: a\nolt: 1\n')) assert.doesNotMatch(text, /did you mean/);
  });

  it('are refused with all faults of all sources at once, each with its line', () => {
    const text = 'name: A\nports:\n  - 1\n  - 10\n  - 11\ninner:\n  on: 3\n  of: 3\nnmae: x\n';
    const { faults } = errorOf(() => resolve(text, {}, { size: 'x' }));
    assert.deepEqual(places(faults), [
      ['inner.of', 8],
      ['nmae', 9],
      ['name', 1],
      ['ports', 4],
      ['ports', 5],
      ['size', null],
      ['inner.on', 7],
    ]);
    assert.match(faults[0]?.text ?? '', /inner\.on/);
    assert.match(faults[1]?.text ?? '', /did you mean name/);
    assert.deepEqual(faults[5]?.also, ['T_SIZE', '--size']);
  });

  it('name the file only where the value is from it', () => {
    const { faults } = errorOf(() => resolve('name: "1"\n', { T_NAME: '1' }));
    assert.deepEqual(places(faults), [['name', null]]);
  });

  it('are refused where they contradict each other, beside every other fault', () => {
    const contradictions = [{ key: 'ports', text: 'too many' }] as const;
    const { faults } = errorOf(() => resolve('ports: [1]\n', {}, {}, contradictions));
    assert.deepEqual(places(faults), [
      ['name', null],
      ['ports', 1],
    ]);
  });

  it('are not said to be missing where the file cannot be parsed; the environment is checked all the same', () => {
    const { faults } = errorOf(() => resolve('name: [\n', { T_SIZE: 'x' }));
    assert.deepEqual([...new Set(faults.map(({ key }) => key))], [null, 'size']);
  });

  for (const text of [
    '[1, 2]',
    'just words',
    '7',
    'a: [',
    '"x',
    'a: 1\na: 2',
    '--- a\n--- b',
    '1: x',
    '\ta: 1',
  ])
    it(`are not ${JSON.stringify(text)}`, () => {
      const { faults } = errorOf(() => resolve(text, { T_NAME: 'a' }));
      assert.equal(
        faults.every(({ line }) => line !== null),
        true,
      );
    });

  it('are nothing in an empty file', () => {
    assert.equal(resolve('# nothing yet\n', { T_NAME: 'a' }).name, 'a');
  });

  it('have no aliases, and a file that is bounded in size and depth', () => {
    for (const text of ['name: &a x\nports: [*a]\n', `# ${'x'.repeat(300_000)}`, '['.repeat(100_000)])
      assert.equal(parseConfigFile(text, 't.yaml').faults.length > 0, true);
  });

  it('do not reach into what every object has', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'inner.on'])
      assert.deepEqual(
        places(errorOf(() => resolve(JSON.stringify({ name: 'a' }).replace('}', `,"${name}":true}`))).faults),
        [[name, 1]],
      );
  });

  it('never repeat a value in what they report', () => {
    const secret = 'Zm9vYmFy';
    const files = [
      ...[`name: ${secret}1`, `ports: [${secret}]`, `size: ${secret}`, `inner: ${secret}`],
      ...[
        secret,
        `a: *${secret}`,
        `a: !${secret} 1`,
        `a: "\\${secret}`,
        `name: |${secret}`,
        `{a: 1} ${secret}`,
      ],
      ...[`%${secret}\n---\na: 1`, `name: @${secret}`, `a: 1\n ${secret}`, `"${secret}`],
    ];
    for (const text of files) {
      const { message } = errorOf(() => resolve(text, { T_SIZE: secret, T_ON: secret, T_PORTS: secret }));
      assert.ok(!message.includes(secret.slice(1)), message);
    }
  });

  it('are refused with the file’s name where it cannot be read', async () => {
    const absent = Object.assign(new Error('no'), { code: 'ENOENT' });
    await assert.rejects(
      readConfigFile('t.yaml', () => Promise.reject(absent)),
      (error: unknown) =>
        error instanceof ConfigError && error.faults[0]?.file === 't.yaml' && error.cause === absent,
    );
  });

  it('come from any text, or it is refused', () => {
    const line = fc.stringMatching(/^[a-z:{}[\]"'&*!|>%@`#\-, \t0-9\n]{0,30}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), line), (text) => {
        try {
          resolve(text, { T_NAME: 'a' });
        } catch (error) {
          assert(error instanceof ConfigError);
          assert.ok(error.faults.length > 0);
        }
      }),
    );
  });
});
